# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# iptables.sh - the rules as iptables chains: only NFQUEUE, or all of them
#
# Everything stands in chains of our own (nfqb_*), reached by one jump from each
# built-in chain. A restart refills the chains and leaves the jumps where they are,
# one transaction per table. Wanted are a text for iptables-restore (per family,
# $work/text4 and text6) and a list of jumps ($work/jumps); what stands in our name
# and is in neither goes away afterwards.

TABLES='raw nat filter mangle'

# The built-in chains with a jump, for the current backend: "table chain ours where match..."
iptables_jumps() {
	case $backend in
	nft+iptables)
		# here, too, since a jump costs every packet more than a comparison
		which="-m mark --mark $(short_hex "$waiting")/$(short_hex "$mask")"
		emit mangle PREROUTING nfqb_queue last "$which"
		[ "$local_traffic" != yes ] || emit mangle OUTPUT nfqb_queue last "$which"
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
	while read -r table chain ours where match; do
		[ "$table" = "$1" ] || continue
		jump="${match:+$match }-j $ours"
		grep -qxF -- "-A $chain $jump" "$work/present.$table" && continue
		if [ "$where" = first ]; then emit "-I $chain 1 $jump"; else emit "-A $chain $jump"; fi
	done <"$work/jumps"
}

# What stands in our name now, as iptables-save prints it. No table is named: looking at a
# legacy one would make it.
iptables_present() {
	for table in $TABLES; do : >"$work/present.$table"; done
	"$(iptables_tool "$1" save)" 2>/dev/null |
		awk -v start="$work/present." '/^\*/ { file = start substr($0, 2) } /nfqb_/ && file != "" { print >file }'
}

iptables_restore() {
	"$(iptables_tool "$1" restore)" --noflush -w 2>"$work/iptables.error" && return
	grep -v '^Try ' "$work/iptables.error" | sed "s/^/$1: /" >&2
	return 1
}

# iptables_apply KIND: the current policy's rules, by the front end of that kind
iptables_apply() {
	iptables_jumps >"$work/jumps"
	for family in 4 6; do
		tool=$(iptables_command "$1" $family) || return 1
		state_note "iptables$family" "$tool"
		iptables_present "$tool"
		iptables_keep "$tool" $family
		iptables_text $family >"$work/text$family"
		iptables_restore "$tool" <"$work/text$family" || return 1
		iptables_prune "$tool" $family || return 1
	done
}

# Write down what stands there, so that a restart that fails can put it back
iptables_keep() {
	: >"$work/old.jumps$2"
	for table in $TABLES; do
		emit "*$table"
		[ ! -s "$work/present.$table" ] || sed -n 's/^\(:nfqb_[^ ]*\) .*/\1 - [0:0]/p; /^-A nfqb_/p' "$work/present.$table"
		emit COMMIT
		[ ! -s "$work/present.$table" ] || sed -n "s/^-A \([A-Z]*\) \(.*\)-j \(nfqb_[^ ]*\)\$/$table \1 \3 last \2/p" "$work/present.$table" >>"$work/old.jumps$2"
	done >"$work/old.text$2"
}

iptables_put_back() {
	for family in 4 6; do
		tool=$(state_value "iptables$family")
		[ -e "$work/old.text$family" ] || continue
		cp "$work/old.text$family" "$work/text$family"
		cp "$work/old.jumps$family" "$work/jumps"
		iptables_present "$tool"
		for table in $TABLES; do
			sed -n "/^\*$table\$/,/^COMMIT/p" "$work/text$family" | grep -vx COMMIT
			iptables_missing_jumps "$table"
			emit COMMIT
		done | iptables_restore "$tool"
		iptables_prune "$tool" $family
	done
}

# Jumps and chains in our name that are not wanted (any more)
iptables_prune() {
	iptables_present "$1"
	for table in $TABLES; do
		[ -s "$work/present.$table" ] || continue
		while read -r where chain ours _ match; do
			[ "$where" != "$table" ] || emit "-A $chain ${match:+$match }-j $ours"
		done <"$work/jumps" >"$work/wanted"
		grep '^-A [A-Z]* \(.*\)-j nfqb_[^ ]*$' "$work/present.$table" | without "$work/wanted" | sed 's/^-A/-D/' >"$work/prune"
		sed -n 's/^:\(nfqb_[^ ]*\) .*/\1/p' "$work/present.$table" |
			while read -r ours; do
				sed -n "/^\*$table\$/,/^COMMIT/p" "$work/text$2" | grep -q "^:$ours " || emit "$ours"
			done >"$work/gone"
		[ -s "$work/prune" ] || [ -s "$work/gone" ] || continue
		{
			emit "*$table"
			cat "$work/prune"
			sed 's/^/-F /' "$work/gone"
			sed 's/^/-X /' "$work/gone"
			emit COMMIT
		} | iptables_restore "$1" || return 1
	done
}

iptables_remove() {
	: >"$work/jumps"
	for family in 4 6; do
		tool=$(state_value "iptables$family")
		: >"$work/text$family"
		[ -z "$tool" ] || iptables_prune "$tool" $family || return 1
	done
}

# The same for the same rules, whatever passed through them
iptables_fingerprint() {
	for family in 4 6; do
		tool=$(state_value "iptables$family")
		[ -n "$tool" ] || continue
		iptables_present "$tool"
		for table in $TABLES; do cat "$work/present.$table"; done | sed 's/^\(:.*\) \[.*/\1/'
	done | cksum
}
