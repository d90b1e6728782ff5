# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# common.sh - messages, temporary files, the lock, the state file
#
# rules.state holds `key value` lines: first version, backend, checksum, checksum-weightless,
# started, fingerprint (the last only while everything is in place: until then, and from
# the first moment of a stop, the daemon touches no route and no rule), then one line for
# each thing that `stop` has to undo. The daemon reads backend, both checksums and
# fingerprint, and of the rest the lines fallback, rule4 and rule6.
# A line is written before the thing is done, and undoing what was never done is
# no error; so whatever moment a `start` dies at, `stop` cleans up after it.

PROTOCOL=157
LINK_GROUP=28262 # 0x6e66, "nf"

say() { echo "nfq-balancer-rules: $*"; }
warn() { echo "nfq-balancer-rules: warning: $*" >&2; }
die() {
	echo "nfq-balancer-rules: $*" >&2
	exit 1
}
# What comes in, without the lines of a file. Not `grep -vxF -f`: BusyBox's passes
# nothing when the file is empty.
without() { awk -v file="$1" 'BEGIN { while ((getline line <file) > 0) known[line] = 1 } !($0 in known)'; }
emit() { printf '%s\n' "$*"; }
NEWLINE='
'

# Is this a kernel before MAJOR MINOR?
kernel_before() {
	release=$(uname -r)
	major=${release%%.*}
	minor=${release#*.}
	minor=${minor%%[!0-9]*}
	[ "$major" -lt "$1" ] || { [ "$major" -eq "$1" ] && [ "$minor" -lt "$2" ]; }
}

need_root() {
	[ "$(id -u)" = 0 ] || die "must be run as root (it looks at the network's rules, and changes them)"
}

# Can a file have that many bytes? Half a plan on a full disk would read like a whole one
# that wants the rest deleted, so this is asked before anything is written that counts.
has_room() {
	{ head -c "$2" /dev/zero >"$1"; } 2>/dev/null
	enough=$?
	rm -f "$1"
	return $enough
}

# A private directory for texts on their way to the kernel; removed at exit. A full disk
# shall not keep anybody from a stop: /run is memory, mostly.
make_work() {
	for directory in "${TMPDIR:-/tmp}" /run; do
		work=$(mktemp -d "$directory/nfq-balancer-rules.XXXXXX" 2>/dev/null) || continue
		! has_room "$work/room" 1048576 || return 0
		rm -rf "$work"
	done
	work=
	die "neither ${TMPDIR:-/tmp} nor /run has room for 1 MiB of temporary files; nothing was changed"
}

# The state is in the configuration's run directory; a stop without a usable
# configuration finds it by the pointer that start leaves (apply.sh)
use_run_directory() {
	run_directory=$1
	state=$run_directory/rules.state
}

# Only one of us at a time in a run directory. Held on descriptor 9 until exit;
# every child that may outlive us closes it.
take_lock() {
	mkdir -p "$run_directory" || die "cannot make the run directory $run_directory"
	# tried first: a shell may end at once, without a word of ours, when exec cannot open its file
	{ true >>"$run_directory/rules.lock"; } 2>/dev/null || die "cannot write $run_directory/rules.lock; nothing was changed"
	exec 9>"$run_directory/rules.lock"
	flock -w "${NFQB_LOCK_WAIT:-30}" 9 || die "another nfq-balancer-rules is at work in $run_directory"
}

# ---- state file ----

state_active() { [ -s "$state" ]; }
state_value() { sed -n "/^$1 /{ s///p; q; }" "$state" 2>/dev/null; }
state_lines() { sed -n "s/^$1 //p" "$state" 2>/dev/null; }
state_add() { printf '%s\n' "$*" >>"$state"; }
# Add a line unless it is there
state_note() { grep -qxF -- "$*" "$state" 2>/dev/null || state_add "$@"; }

# The state is to be what comes in; what it was stays when that cannot be written whole
state_replace() {
	if ! { cat >"$state.new" && mv -f "$state.new" "$state"; } 2>/dev/null; then
		rm -f "$state.new"
		warn "cannot write $state"
		return 1
	fi
}

# For start and restart: every change is written down before it is made
need_state_room() {
	has_room "$state.new" 262144 || die "$run_directory has no room for 256 KiB of state; nothing was changed"
}

# Set the one line of a key, or take it away (no value)
state_set() {
	key=$1
	shift
	{
		[ $# -eq 0 ] || awk -v key="$key" -v value="$*" '
			$1 == key { if (!done) print key, value; done = 1; next }
			{ print }
			END { if (!done) print key, value }' "$state"
		[ $# -gt 0 ] || grep -v "^$key " "$state"
	} | state_replace
}
