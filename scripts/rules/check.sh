# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh - status, counters, and the doctor

# Do the rules in the kernel match the state?
rules_intact() {
	[ "$(state_value fingerprint)" = "$(fingerprint "$(state_value backend)")" ] || return 1
	for family in 4 6; do
		rules_present $family >"$work/present"
		state_lines "rule$family" | grep -vxF -f "$work/present" >"$work/missing"
		[ ! -s "$work/missing" ] || return 1
	done
}

command_counters() {
	make_work
	find_state
	state_active || die "not active"
	case $(state_value backend) in
	nft*) nft_counters ;;
	*) pure_counters ;;
	esac
}
