# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# apply.sh - start, stop, restart, print
#
# Order: routes before the rules that mark, so that no mark is ever without its
# table; the other way round at stop.

# Where the state of the last start with this configuration file is, for a stop
# when the file is gone, broken or names another directory by now
pointer() {
	path=$(readlink -f "$config" 2>/dev/null || echo "$config")
	echo "${NFQB_POINTERS:-/run/nfq-balancer-rules}/$(echo "$path" | cksum | tr ' ' -)"
}

active_elsewhere() {
	where=$(cat "$(pointer)" 2>/dev/null)
	[ -n "$where" ] && [ -s "$where/rules.state" ]
}

# The state of an earlier start, whatever the configuration says today
find_state() {
	if ! active_elsewhere; then
		where=$(policy_read 2>/dev/null && echo "$run_directory")
	fi
	use_run_directory "${where:-/run/nfq-balancer}"
}

# The state of the configuration as it is now
current_state() {
	policy_read || die "$command: the configuration is not usable; nothing was changed"
	! active_elsewhere || [ "$where" = "$run_directory" ] ||
		die "the run directory was $where at the last start and is $run_directory now: stop first"
}

point_to_state() {
	file=$(pointer)
	mkdir -p "${file%/*}" && echo "$run_directory" >"$file"
}

forget_pointer() {
	file=$(pointer)
	rm -f "$file"
	rmdir "${file%/*}" 2>/dev/null
	return 0
}

fingerprint() {
	case $1 in
	nft) nft_fingerprint ;;
	nft+iptables) echo "$(nft_fingerprint) $(iptables_fingerprint)" ;;
	*) iptables_fingerprint ;;
	esac
}

ruleset_apply() {
	case $backend in
	nft) nft_apply ;;
	# nft last: it is all or nothing, so a failed restart has only to put back the
	# one chain in iptables
	nft+iptables) iptables_apply "$queue_kind" && nft_apply ;;
	*) iptables_apply "${backend#iptables-}" ;;
	esac
}

ruleset_remove() {
	case $(state_value backend) in
	nft) nft_remove ;;
	nft+iptables) nft_remove && iptables_remove ;;
	iptables-*) iptables_remove ;;
	esac
}

state_begin() {
	cat >"$state" <<-END
		version 1
		backend $backend
		checksum $checksum
		checksum-weightless $weightless
		started $(date +%s)
		config $config
	END
}

# To the kernel. False at the first failure; each thing done is in the state by then.
bring_up() {
	sysctls_set && groups_set && names_set && network_add && ruleset_apply && watch_connections
}

# Undo what the state lists. Goes on after an error: the more is put back the better.
# Without a fingerprint the state tells the daemon to leave routes and rules alone:
# it would put them back as fast as they go.
take_down() {
	failed=0
	state_set fingerprint
	ruleset_remove || failed=1
	plan_nothing
	network_prune || failed=1
	groups_reset
	names_reset
	sysctls_reset
	[ $failed = 0 ] || return 1
	rm -f "$state" "$run_directory/rules.policy"
	forget_pointer
}

warn_absent() {
	for interface in $interfaces; do
		interface_exists "$interface" || warn "$interface does not exist yet; the daemon adds its routes when it comes"
	done
}

command_start() {
	need_root
	# who confirms over the network may lose the session halfway: it goes on, and is undone in time
	[ -z "$confirm" ] || { trap '' HUP && trap : PIPE; }
	make_work
	current_state
	take_lock
	if state_active; then
		if rules_intact && policy_current && [ "$(state_value checksum)" = "$checksum" ]; then
			say "active already: backend $(state_value backend)"
			# nothing to undo but what waits already: that waits anew
			[ -n "$(confirm_pid)" ] || return 0
		else
			[ -z "$confirm" ] || before_keep
			refresh
		fi
	else
		choose_backend
		before_forget
		start_fresh
	fi
	[ -z "$confirm" ] || confirm_arm
}

start_fresh() {
	check_helpers
	check_offload
	check_tables
	warn_absent
	plan_network
	need_state_room
	if ! state_begin || ! point_to_state; then
		rm -f "$state"
		die "cannot write what a stop needs; nothing was changed"
	fi
	if ! bring_up; then
		take_down || die "not started, and not everything could be put back; $state still lists it"
		die "not started: everything is as it was before"
	fi
	state_set fingerprint "$(fingerprint "$backend")"
	policy_keep
	say "active: backend $backend"
}

# From an active ruleset to the current configuration, without a moment between
refresh() {
	backend=$(state_value backend)
	if [ -n "$forced" ] && [ "$forced" != "$backend" ]; then
		backend_works "$forced" || die "backend $forced does not work in this kernel; $backend stays"
		warn "another backend: for a moment there are no rules"
		take_down || die "could not take down backend $backend; $state lists what is left"
		choose_backend
		start_fresh
		return
	fi
	queue_kind=legacy
	case $(state_value iptables4) in *-nft) queue_kind=nft ;; esac
	check_helpers
	check_offload
	check_tables
	warn_absent
	plan_network
	need_state_room
	cp "$state" "$work/state.old"
	if ! bring_up; then
		put_back
		die "nothing changed: the rules of before stay"
	fi
	network_prune || warn "some routes or ip rules of the old configuration could not be deleted"
	state_without_stale
	groups_reset keep
	state_set checksum "$checksum"
	state_set checksum-weightless "$weightless"
	state_set fingerprint "$(fingerprint "$backend")"
	point_to_state
	policy_keep
	say "active: backend $backend, refreshed"
}

# After a restart that failed half-way: what the old state does not list is undone,
# what it lists is put back
put_back() {
	iptables_put_back
	for family in 4 6; do
		sed -n "s/^rule$family //p" "$work/state.old" >"$work/rules$family"
		sed -n "s/^route$family //p" "$work/state.old" >"$work/routes$family"
	done
	network_add
	network_prune
	without "$work/state.old" <"$state" >"$work/state.new"
	state_replace <"$work/state.old"
	whole=$state
	state=$work/state.new
	interfaces_forget
	groups_reset
	names_reset
	sysctls_reset
	state=$whole
}

command_restart() {
	need_root
	make_work
	current_state
	take_lock
	if state_active; then
		refresh
	else
		choose_backend
		start_fresh
	fi
}

command_stop() {
	need_root
	make_work
	find_state
	if ! state_active; then
		say "not active"
		return
	fi
	take_lock
	confirm_disarm
	take_down || die "stop: not everything could be put back; $state still lists it"
	say "stopped"
}

# What the steps beside the ruleset and the routes would do: they themselves, with hands tied
# shellcheck disable=SC2317 # the steps call them
print_settings() (
	sysctl_write() { emit "$1 = $2"; }
	group_set() { emit "link set dev $1 group $LINK_GROUP"; }
	{ sysctls_set && watch_connections; } >"$work/sysctls"
	[ ! -s "$work/sysctls" ] || { emit "# sysctl -p -" && cat "$work/sysctls"; }
	groups_set >"$work/groups"
	[ ! -s "$work/groups" ] || { emit "# ip -batch" && cat "$work/groups"; }
)

command_print() {
	need_root
	make_work
	policy_read || exit 1
	state=/dev/null
	choose_backend
	check_offload
	plan_network
	print_settings
	for family in 4 6; do
		[ ! -s "$work/rules$family" ] || {
			emit "# ip -$family -batch"
			routes_batch <"$work/routes$family"
			rules_batch add <"$work/rules$family"
		}
	done
	case $backend in
	nft*)
		emit "# nft -f"
		nft_text
		;;
	esac
	[ "$backend" != nft ] || return 0
	iptables_jumps >"$work/jumps"
	for table in $TABLES; do : >"$work/present.$table"; done
	emit "# iptables-restore --noflush"
	iptables_text 4
	emit "# ip6tables-restore --noflush"
	iptables_text 6
}
