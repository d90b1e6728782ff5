# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh - status, counters, and the doctor
command_counters() {
	find_state
	case $(state_value backend) in
	nft*) nft_counters ;;
	esac
}
