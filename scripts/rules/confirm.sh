# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# confirm.sh - a start that takes itself back unless somebody confirms it
#
# People deploy over the very network that they change. `start --confirm N` leaves
# a process of its own session behind that survives a lost SSH connection and ends
# within N seconds: confirmed (its line in the state is gone), or by a stop. State
# line: `confirm PID DEADLINE`. Where rules were active already, what they were made
# from is in rules.before: the backend, then the records (policy.sh).

# What the active rules are made from, for a later start --confirm
policy_keep() {
	{
		echo "$backend"
		emit "$records"
	} >"$run_directory/rules.policy"
}

# What an unconfirmed start goes back to. One that is unconfirmed itself is not that.
before_keep() {
	[ -z "$(confirm_pid)" ] || return 0
	before_forget
	cp "$run_directory/rules.policy" "$run_directory/rules.before" 2>/dev/null ||
		warn "the rules are those of an older version: unless confirmed, they are stopped, not put back"
}

go_back() {
	find_binary
	forced=$(sed 1q "$run_directory/rules.before")
	records=$(sed 1d "$run_directory/rules.before")
	policy_take
	state_set confirm
	refresh
}

before_forget() { rm -f "$run_directory/rules.before"; }

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
	# in a shell of its own: it ends where a start that fails does
	if ! [ -s "$run_directory/rules.before" ] || ! (go_back); then take_down; fi
	before_forget
}

# Forget the wait; the process notices within a second
confirm_disarm() {
	[ -z "$(confirm_pid)" ] || state_set confirm || return 1
	before_forget
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
