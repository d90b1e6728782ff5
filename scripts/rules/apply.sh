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

# Use the state of an earlier start, whatever the configuration says today
find_state() {
	where=$(cat "$(pointer)" 2>/dev/null)
	[ -z "$where" ] || [ ! -s "$where/rules.state" ] || {
		use_run_directory "$where"
		return 0
	}
	policy_read 2>/dev/null || use_run_directory /run/nfq-balancer
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
	case $backend in
	nft) nft_fingerprint ;;
	nft+iptables) echo "$(nft_fingerprint) $(iptables_fingerprint)" ;;
	*) iptables_fingerprint ;;
	esac
}

ruleset_apply() {
	case $backend in
	nft) nft_apply ;;
	# the commit chain first: nothing may be queued that nobody would take afterwards
	nft+iptables) iptables_apply "$queue_kind" && nft_apply ;;
	iptables-*) iptables_apply "${backend#iptables-}" ;;
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
		started $(date +%s)
		config $config
	END
}

# Everything but the state's first lines; false at the first failure
bring_up() {
	sysctls_set &&
		groups_set &&
		names_set &&
		network_add &&
		ruleset_apply &&
		network_prune &&
		state_set fingerprint "$(fingerprint)"
}

# Undo what the state lists. Goes on after an error: the more is put back the better.
take_down() {
	failed=0
	ruleset_remove || failed=1
	rm -f "$work/rules4" "$work/rules6" "$work/routes4" "$work/routes6" "$work/links"
	network_prune || failed=1
	groups_reset
	names_reset
	sysctls_reset
	[ $failed = 0 ] || return 1
	rm -f "$state"
	forget_pointer
}

command_start() {
	need_root
	make_work
	policy_read || die "not started: the configuration is not usable"
	take_lock
	if state_active; then
		refresh
		return
	fi
	choose_backend
	check_tables
	warn_absent
	plan_network
	state_begin
	point_to_state
	if ! bring_up; then
		take_down
		die "not started: everything is as it was before"
	fi
	say "active: backend $backend"
	[ -z "$confirm" ] || confirm_arm
}

warn_absent() {
	for interface in $interfaces; do
		interface_exists "$interface" || warn "$interface does not exist yet; the daemon adds its routes when it comes"
	done
}

command_stop() {
	need_root
	make_work
	find_state
	[ -d "$run_directory" ] || { say "not active"; return 0; }
	take_lock
	state_active || { say "not active"; return 0; }
	confirm_disarm
	take_down || die "stop: not everything could be put back; $state still lists it"
	say "stopped"
}

command_print() {
	make_work
	policy_read || exit 1
	choose_backend
	plan_network
	case $backend in
	nft*) nft_text ;;
	esac
}
