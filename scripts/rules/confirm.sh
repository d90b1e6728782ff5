# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# confirm.sh - a start that takes itself back unless somebody confirms it
#
# People deploy over the very network that they change. `start --confirm N` leaves
# a process of its own session behind that survives a lost SSH connection and ends
# within N seconds: confirmed (its line in the state is gone), or by a stop. State
# line: `confirm PID DEADLINE`.

confirm_arm() {
	setsid "$self" -c "$config" rollback "$run_directory" "$confirm" </dev/null >/dev/null 2>&1 9>&- &
	state_set confirm "$! $(($(date +%s) + confirm))"
	say "confirm within $confirm s, or this start is undone: nfq-balancer-rules confirm"
}

confirm_pid() {
	pid=$(state_value confirm)
	echo "${pid%% *}"
}

# Seconds are counted, not read from the clock: somebody may set it meanwhile
command_rollback() {
	left=$2
	use_run_directory "$1"
	while [ "$left" -gt 0 ]; do
		sleep 1
		[ "$(confirm_pid)" = $$ ] || exit 0
		left=$((left - 1))
	done
	make_work
	take_lock
	[ "$(confirm_pid)" = $$ ] || exit 0
	take_down
}

# Forget the wait; the process notices within a second
confirm_disarm() {
	[ -z "$(confirm_pid)" ] || state_set confirm
}

command_confirm() {
	need_root
	make_work
	find_state
	state_active || die "confirm: not active: nothing to confirm (was it undone already?)"
	take_lock
	[ -n "$(confirm_pid)" ] || {
		say "nothing to confirm"
		return
	}
	confirm_disarm || die "confirm: it could not be noted: the start will be undone"
	say "confirmed"
}
