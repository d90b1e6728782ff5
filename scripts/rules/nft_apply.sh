# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# nft_apply.sh - the nftables text to the kernel, and what stands there
#
# In one transaction with the new text goes what has to leave the old table.

# The chains of a table's text: "NAME", "NAME TYPE HOOK PRIORITY;"
nft_chains() {
	awk '$1 == "chain" { name = $2; base = "" } $1 == "type" && name != "" { base = " " $2 " " $4 " " $6 }
		name != "" && ($1 == "}" || $NF == "}") { print name base; name = "" }'
}

# What a restart has to take out of the old table first, one command per line:
# map elements, chains and counters of links that are no more. References to the
# chains are gone by then: `flush table` has removed every rule, and the maps are
# emptied before.
nft_stale() {
	nft -y -t list table inet nfq_balancer 2>/dev/null >"$work/nft.old" || return 0
	awk '$1 == "map" || $1 == "set" { print $1, $2 }' "$work/nft.old" |
		while read -r kind name; do
			echo "flush $kind $TABLE $name"
			grep -q "^	$kind $name {" "$work/nft.new" || echo "delete $kind $TABLE $name"
		done
	# former rules had other base chains, or the same elsewhere
	nft_chains <"$work/nft.new" >"$work/chains.new"
	nft_chains <"$work/nft.old" | without "$work/chains.new" |
		while read -r name kind; do echo "delete chain $TABLE $name"; done
	# given anew: its devices may be others
	sed -n "s/^	flowtable \([^ ]*\) {.*/delete flowtable $TABLE \1/p" "$work/nft.old"
	nft_objects <"$work/nft.new" >"$work/objects.new"
	nft_objects <"$work/nft.old" | without "$work/objects.new" | sed "s/^\(.*\) \([^ ]*\)/delete \1 $TABLE \2/"
}
nft_objects() { sed -n 's/^	\(counter\|ct helper\) \([^ ]*\) {.*/\1 \2/p'; }

nft_apply() {
	nft_text >"$work/nft.new"
	nft_stale >"$work/nft.stale"
	sed "$AFTER_FLUSH r $work/nft.stale" "$work/nft.new" >"$work/nft.text"
	nft -f "$work/nft.text" 2>"$work/nft.error" || {
		sed 's/^/nft: /' "$work/nft.error" >&2
		return 1
	}
	[ "$fallback" = yes ] || : >"$work/fallbacks"
	{
		grep -v '^fallback ' "$state"
		sed 's/^/fallback /' "$work/fallbacks"
	} | state_replace
}

nft_remove() {
	nft list table inet nfq_balancer >/dev/null 2>&1 || return 0
	nft delete table inet nfq_balancer
}

# The same text for the same rules, whatever passed through them; a device that went
# away left the flowtable
nft_fingerprint() { nft -s -t list table inet nfq_balancer 2>/dev/null | sed '/^\t\tdevices = /d' | cksum; }

nft_counters() {
	nft list counters table inet nfq_balancer 2>/dev/null |
		awk '$1 == "counter" { split($2, name, "_") } $1 == "packets" { print name[1], name[2], $2 }'
}
