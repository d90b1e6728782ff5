# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# status.sh - what is active, since when, and whether it is still whole

# Do the rules in the kernel match the state? Sets `broken` to what does not.
rules_intact() {
	broken=
	[ "$(state_value fingerprint)" = "$(fingerprint "$(state_value backend)")" ] || broken=' ruleset'
	# the daemon changes where their slots lead, but there are always all of them
	for map in $(state_lines fallback | cut -d ' ' -f 1); do
		[ "$(nft list map inet nfq_balancer "$map" 2>/dev/null | grep -o 'goto take_' | wc -l)" -eq "$SLOTS" ] ||
			broken="$broken map-$map"
	done
	for family in 4 6; do
		rules_present $family >"$work/present"
		state_lines "rule$family" | without "$work/present" >"$work/missing"
		[ ! -s "$work/missing" ] || broken="$broken IPv$family-rules"
		routes_present $family >"$work/present"
		for table in $(state_lines "table$family" | sed 's/$/ unreachable/' | without "$work/present" | sed 's/ .*//'); do
			broken="$broken IPv$family-table-$table"
		done
	done
	broken=${broken# }
	[ -z "$broken" ]
}

# Were the rules made from what the configuration says now? In nftables the fallback's
# weights are no rules while a daemon is there: they follow it.
policy_current() {
	case $(state_value backend):$(queues_bound) in
	nft*:0) [ "$(state_value checksum)" = "$checksum" ] ;;
	nft*) [ "$(state_value checksum-weightless)" = "$weightless" ] ;;
	*) [ "$(state_value checksum)" = "$checksum" ] ;;
	esac
}

# How many of our queues somebody listens to
queues_bound() {
	awk -v first="$queue_first" -v last="$queue_last" '$1 >= first && $1 <= last { n++ } END { print n + 0 }' \
		/proc/net/netfilter/nfnetlink_queue 2>/dev/null || echo 0
}

counters() {
	case $(state_value backend) in
	nft*) nft_counters ;;
	*) pure_counters ;;
	esac
}

command_counters() {
	need_root
	make_work
	find_state
	state_active || die "not active"
	counters
}

command_status() {
	need_root
	make_work
	find_state
	state_active || {
		echo "not active"
		exit 1
	}
	whole=0
	backend=$(state_value backend)
	since=$(state_value started)
	printf 'backend   %s\n' "$backend"
	printf 'active    since %s\n' "$(date -d "@$since" '+%Y-%m-%d %H:%M:%S' 2>/dev/null || echo "$since")"
	if rules_intact; then
		echo "rules     as made"
	else
		echo "rules     changed by somebody: $broken (nfq-balancer-rules restart puts them back)"
		whole=1
	fi
	status_policy
	status_confirm
	status_links
	exit $whole
}

status_policy() {
	directory=$run_directory
	if ! (policy_read) >/dev/null 2>&1; then
		echo "policy    $config cannot be read: nfq-balancer -n says why"
		whole=1
		links=
		return
	fi
	policy_read
	use_run_directory "$directory"
	if policy_current; then
		echo "policy    same as $config_file"
	else
		echo "policy    $config_file changed since (nfq-balancer-rules restart applies it)"
		whole=1
	fi
	echo "daemon    $(queues_bound) of $((queue_last - queue_first + 1)) queues bound"
}

status_confirm() {
	[ -n "$(confirm_pid)" ] || return 0
	deadline=$(state_value confirm)
	echo "confirm   within $((${deadline#* } - $(date +%s))) s, or this start is undone"
}

status_links() {
	[ -n "$links" ] || return 0
	counters >"$work/counters"
	printf '%-15s %-15s %-10s %-24s %-28s %10s %10s\n' LINK INTERFACE TABLE GATEWAY GATEWAY6 DECIDED FALLBACK
	for id in $links; do
		link_use "$id"
		printf '%-15s %-15s %-10s %-24s %-28s %10s %10s\n' "$l_name" "$l_if" "$l_table" \
			"$(route_in_use 4)" "$(route_in_use 6)" "$(counter decided)" "$(counter fallback)"
	done
}

counter() { awk -v kind="$1" -v id="$id" '$1 == kind && $2 == id { print $3 }' "$work/counters"; }

# The gateway by which the current link's table leaves now
route_in_use() {
	carries "$id" "$1" || {
		echo off
		return
	}
	ip -N "-$1" route show table "$l_table" 2>/dev/null | awk '
		$1 == "default" && !done && !/ dev lo / { done = 1; for (i = 1; i < NF; i++) if ($i == "via") via = $(i + 1); print via == "" ? "none" : via }
		END { if (!done) print "-" }'
}
