# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# iptables.sh - the rules as iptables chains, whole or only NFQUEUE
#
# Everything stands in chains of our own (nfqb_*), reached by one jump from each
# built-in chain. A restart refills the chains and leaves the jumps where they are.

# The built-in chains with a jump, for the current backend: "table chain ours where"
iptables_jumps() {
	case $backend in
	nft+iptables)
		emit mangle PREROUTING nfqb_queue last
		[ "$local_traffic" != yes ] || emit mangle OUTPUT nfqb_queue last
		;;
	*) pure_jumps ;;
	esac
}

queue_target() {
	if [ "$queue_first" = "$queue_last" ]; then
		target="NFQUEUE --queue-num $queue_first"
	else
		target="NFQUEUE --queue-balance $queue_first:$queue_last"
	fi
	[ "$fallback" != yes ] || target="$target --queue-bypass"
	echo "$target"
}

# iptables_text FAMILY: for iptables-restore --noflush
iptables_text() {
	case $backend in
	nft+iptables)
		emit "*mangle"
		emit ":nfqb_queue - [0:0]"
		emit "-A nfqb_queue -m mark --mark $waiting/$mask -m connmark --mark 0/$mask -j $(queue_target)"
		iptables_missing_jumps mangle
		emit COMMIT
		;;
	*) pure_text "$1" ;;
	esac
}

iptables_missing_jumps() {
	iptables_jumps | while read -r table chain ours where; do
		[ "$table" = "$1" ] || continue
		grep -qxF -- "-A $chain -j $ours" "$work/present.$1" && continue
		if [ "$where" = first ]; then emit "-I $chain 1 -j $ours"; else emit "-A $chain -j $ours"; fi
	done
}

# What is in the tables now; a table is only read if the state or a rule of ours
# can be in it (reading would load it)
iptables_present() {
	for table in mangle nat raw; do
		"$(iptables_tool "$1" save)" -t $table 2>/dev/null >"$work/present.$table"
	done
}

iptables_apply() {
	for family in 4 6; do
		tool=$(iptables_command "$1" $family) || return 1
		state_note "iptables$family" "$tool"
		iptables_present "$tool"
		iptables_text $family >"$work/iptables$family.text"
		"$(iptables_tool "$tool" restore)" --noflush -w <"$work/iptables$family.text" 2>"$work/iptables.error" || {
			sed "s/^/$tool: /" "$work/iptables.error" >&2
			return 1
		}
		iptables_prune "$tool"
	done
}

# Chains and jumps of an older plan that the text just applied does not have
iptables_prune() {
	iptables_present "$1"
	for table in mangle nat raw; do
		sed -n 's/^-A \([A-Z]*\) -j \(nfqb_.*\)/\1 \2/p' "$work/present.$table" |
			while read -r chain ours; do
				[ -e "$work/iptables$family.text" ] && iptables_jumps | grep -q "^$table $chain $ours " ||
					emit "-D $chain -j $ours"
			done >"$work/prune"
		sed -n 's/^:\(nfqb_[^ ]*\) .*/\1/p' "$work/present.$table" |
			while read -r ours; do
				[ -e "$work/iptables$family.text" ] && grep -q "^:$ours " "$work/iptables$family.text" ||
					emit "$ours"
			done >"$work/gone"
		[ -s "$work/prune" ] || [ -s "$work/gone" ] || continue
		{
			emit "*$table"
			cat "$work/prune"
			sed 's/^/-F /' "$work/gone"
			sed 's/^/-X /' "$work/gone"
			emit COMMIT
		} | "$(iptables_tool "$1" restore)" --noflush -w || return 1
	done
}

iptables_remove() {
	for family in 4 6; do
		tool=$(state_value "iptables$family")
		[ -n "$tool" ] || continue
		rm -f "$work/iptables$family.text"
		iptables_prune "$tool" || return 1
	done
}

iptables_fingerprint() {
	for family in 4 6; do
		tool=$(state_value "iptables$family")
		[ -z "$tool" ] || for table in mangle nat raw; do
			"$(iptables_tool "$tool" save)" -t $table 2>/dev/null | grep nfqb_ | sed 's/^\(:.*\) \[.*/\1/'
		done
	done | cksum
}
