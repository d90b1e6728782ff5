# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# probe.sh - which backend works in the running kernel
#
# Each candidate is tried in a network namespace that lives for a moment only. In
# the router's own one a trial could leave tables behind, and deleting a base chain
# would flush everybody's NFQUEUEs. Where no namespace can be made, `nft -c` (the
# kernel checks, and keeps nothing) and the front ends' --test have to do.

has_elsewhere() {
	[ -n "${can_unshare:-}" ] || { unshare -n true 2>/dev/null && can_unshare=yes || can_unshare=no; }
	[ "$can_unshare" = yes ]
}
elsewhere() { if has_elsewhere; then unshare -n "$@"; else "$@"; fi; }

# Does this kernel take the ruleset on standard input?
nft_takes() {
	check='-c'
	! has_elsewhere || check=
	# shellcheck disable=SC2086
	elsewhere nft $check -f - 2>/dev/null
}

probe_nft() {
	command -v nft >/dev/null || return 1
	nft_takes <<-END
		table inet nfqb_probe {
			map m { type mark : verdict; }
			set s { type ipv4_addr; size 16; flags dynamic,timeout; timeout 1s; }
			chain one { ct mark set ct mark & 0xffff00ff | 0x100; }
			chain two { type filter hook prerouting priority -151; policy accept;
				meta mark & 0xff00 vmap @m
				fib daddr type { local, multicast } return
				update @s { ip saddr limit rate over 1/second } return
				numgen inc mod 2 vmap { 0 : goto one, 1 : goto one }
				$1
			}
			chain own { type route hook output priority -151; policy accept; socket mark & 0xff00 != 0 return; }
			chain nat { type nat hook postrouting priority 100; policy accept; masquerade; }
		}
	END
}

# A front end for iptables of one kind; both families
iptables_command() {
	kind=$1 family=$2
	program=iptables
	[ "$family" = 4 ] || program=ip6tables
	if command -v "$program-$kind" >/dev/null; then
		echo "$program-$kind"
	elif "$program" -V 2>/dev/null | grep -q "$([ "$kind" = nft ] && echo nf_tables || echo legacy)"; then
		echo "$program"
	else
		return 1
	fi
}

# The same front end's -restore and -save
iptables_tool() {
	case $1 in
	*-nft | *-legacy) echo "${1%-*}-${1##*-}-$2" ;;
	*) echo "$1-$2" ;;
	esac
}

# probe_iptables KIND RULES: do these rules of the mangle table work, in both families?
probe_iptables() {
	for family in 4 6; do
		tool=$(iptables_command "$1" $family) || return 1
		restore=$(iptables_tool "$tool" restore)
		test=--test
		! has_elsewhere || test=
		# shellcheck disable=SC2086
		elsewhere "$restore" --noflush -w $test 2>/dev/null <<-END || return 1
			*mangle
			:nfqb_probe - [0:0]
			$2
			COMMIT
		END
	done
}

probe_queue='-A nfqb_probe -m mark --mark 0x100/0xff00 -m connmark --mark 0/0xff00 -j NFQUEUE --queue-balance 0:1 --queue-bypass'
probe_pure="$probe_queue
-A nfqb_probe -m statistic --mode nth --every 2 --packet 0 -j CONNMARK --restore-mark --nfmask 0xff00 --ctmask 0xff00
-A nfqb_probe -m conntrack --ctstate NEW -m addrtype --dst-type LOCAL -j MARK --set-xmark 0x100/0xff00"

# The NFQUEUE rule of nft+iptables: which front end carries it
probe_hybrid() {
	for queue_kind in nft legacy; do
		! probe_iptables $queue_kind "$probe_queue" || return 0
	done
	return 1
}

backend_works() {
	case $1 in
	nft) probe_nft 'queue flags bypass to 0' ;;
	nft+iptables) probe_nft counter && probe_hybrid ;;
	iptables-nft) probe_iptables nft "$probe_pure" ;;
	iptables-legacy) probe_iptables legacy "$probe_pure" ;;
	esac
}

# `backend` := the one that was asked for, or the first that works
choose_backend() {
	if [ -n "$forced" ]; then
		backend=$forced
		backend_works "$backend" || die "backend $backend does not work in this kernel (nfq-balancer-rules check says which do)"
		return
	fi
	for backend in nft nft+iptables iptables-nft iptables-legacy; do
		! backend_works $backend || return 0
	done
	die "no backend works: neither nftables with queue or with NFQUEUE in iptables, nor iptables with NFQUEUE, statistic and CONNMARK"
}

check_helpers() {
	for helper in $helpers; do
		helper_works "$helper" || die "helper $helper: the kernel has none (module nf_conntrack_$helper); load it, or take it out of helpers"
		load_nat_helper "$helper"
	done
}

# What translates the addresses inside a protocol (FTP's PORT) is a module of its
# own, and unlike the helper's nothing loads it on demand. Some helpers need none.
load_nat_helper() {
	case $1 in
	Q.931 | RAS) modprobe -q nf_nat_h323 ;;
	snmp) modprobe -q nf_nat_snmp_basic ;;
	*) modprobe -q "nf_nat_$1" ;;
	esac 2>/dev/null || :
}

# Does the kernel have this conntrack helper?
helper_works() {
	for where in $(helper_ports "$1"); do
		case $backend in
		nft*)
			elsewhere nft -f - 2>/dev/null <<-END || return 1
				table inet nfqb_probe {
					ct helper h { type "$1" protocol ${where%:*}; }
				}
			END
			;;
		*)
			elsewhere "$(iptables_command "${backend#iptables-}" 4)" -w -t raw -A OUTPUT -p "${where%:*}" --dport "${where#*:}" -j CT --helper "$1" 2>/dev/null || return 1
			;;
		esac
	done
}
