/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_names.c - names of protocols, services and DSCP classes
 *
 * A router without /etc/services and /etc/protocols (Debian's package netbase)
 * still knows the names that people use in firewall rules. For services the system's
 * file comes first: administrators add to it.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "policy/config_parse.h"

#define PROTOCOL_ICMPV6 58
#define PROTOCOL_UDPLITE 136

struct name_number {
	const char *name;
	uint16_t number;
};

/* IANA "Assigned Internet Protocol Numbers"; the first name of a number is the one printed */
static const struct name_number protocols[] = {
	{ "icmp", 1 },
	{ "igmp", 2 },
	{ "ipip", 4 },
	{ "tcp", 6 },
	{ "udp", 17 },
	{ "dccp", 33 },
	{ "gre", 47 },
	{ "esp", 50 },
	{ "ah", 51 },
	{ "icmpv6", PROTOCOL_ICMPV6 },
	{ "ospf", 89 },
	{ "vrrp", 112 },
	{ "l2tp", 115 },
	{ "sctp", 132 },
	{ "udplite", PROTOCOL_UDPLITE },
	{ "ipv6", 41 },
	{ "ipencap", 4 },
	{ "ipv6-icmp", PROTOCOL_ICMPV6 },
};

/* IANA "Service Name and Transport Protocol Port Number Registry" */
static const struct name_number services[] = {
	{ "ftp-data", 20 },
	{ "ftp", 21 },
	{ "ssh", 22 },
	{ "telnet", 23 },
	{ "smtp", 25 },
	{ "domain", 53 },
	{ "bootps", 67 },
	{ "bootpc", 68 },
	{ "tftp", 69 },
	{ "http", 80 },
	{ "kerberos", 88 },
	{ "pop3", 110 },
	{ "sunrpc", 111 },
	{ "nntp", 119 },
	{ "ntp", 123 },
	{ "netbios-ns", 137 },
	{ "netbios-dgm", 138 },
	{ "netbios-ssn", 139 },
	{ "imap", 143 },
	{ "imap2", 143 },
	{ "snmp", 161 },
	{ "snmp-trap", 162 },
	{ "irc", 194 },
	{ "ldap", 389 },
	{ "https", 443 },
	{ "microsoft-ds", 445 },
	{ "submissions", 465 },
	{ "smtps", 465 },
	{ "isakmp", 500 },
	{ "syslog", 514 },
	{ "submission", 587 },
	{ "ipp", 631 },
	{ "ldaps", 636 },
	{ "domain-s", 853 },
	{ "rsync", 873 },
	{ "ftps-data", 989 },
	{ "ftps", 990 },
	{ "imaps", 993 },
	{ "pop3s", 995 },
	{ "socks", 1080 },
	{ "openvpn", 1194 },
	{ "ms-sql-s", 1433 },
	{ "l2tp", 1701 },
	{ "pptp", 1723 },
	{ "radius", 1812 },
	{ "nfs", 2049 },
	{ "squid", 3128 },
	{ "mysql", 3306 },
	{ "ms-wbt-server", 3389 },
	{ "rdp", 3389 },
	{ "svn", 3690 },
	{ "ipsec-nat-t", 4500 },
	{ "sip", 5060 },
	{ "sip-tls", 5061 },
	{ "xmpp-client", 5222 },
	{ "xmpp-server", 5269 },
	{ "postgresql", 5432 },
	{ "vnc", 5900 },
	{ "redis", 6379 },
	{ "ircd", 6667 },
	{ "http-alt", 8080 },
	{ "git", 9418 },
	{ "wireguard", 51820 },
};

/* RFC 2474 (CS), 2597 (AF), 3246 (EF), 5865 (VA), 8622 (LE) */
static const struct name_number dscp_names[] = {
	{ "BE", 0 },	{ "DF", 0 },	{ "LE", 1 },	{ "CS0", 0 },	{ "CS1", 8 },	{ "CS2", 16 },	{ "CS3", 24 },
	{ "CS4", 32 },	{ "CS5", 40 },	{ "CS6", 48 },	{ "CS7", 56 },	{ "AF11", 10 }, { "AF12", 12 }, { "AF13", 14 },
	{ "AF21", 18 }, { "AF22", 20 }, { "AF23", 22 }, { "AF31", 26 }, { "AF32", 28 }, { "AF33", 30 }, { "AF41", 34 },
	{ "AF42", 36 }, { "AF43", 38 }, { "VA", 44 },	{ "EF", 46 },
};

static int table_find(const struct name_number *table, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(table[i].name, name) == 0)
			return table[i].number;
	return -1;
}

#define TABLE_FIND(table, name) table_find((table), sizeof(table) / sizeof((table)[0]), (name))

int protocol_parse(const char *name)
{
	const struct protoent *entry;
	uint64_t number;
	int found;

	if (number_parse(name, &number))
		return number <= UINT8_MAX ? (int)number : -1;
	found = TABLE_FIND(protocols, name);
	if (found >= 0)
		return found;
	entry = getprotobyname(name);
	return entry != NULL && entry->p_proto >= 0 && entry->p_proto <= UINT8_MAX ? entry->p_proto : -1;
}

const char *protocol_str(uint8_t protocol, char out[16])
{
	snprintf(out, 16, "%u", protocol);
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
		if (protocols[i].number == protocol) {
			snprintf(out, 16, "%s", protocols[i].name);
			break;
		}
	}
	return out;
}

int service_port(const char *name, uint8_t protocol)
{
	const struct servent *entry = NULL;
	char protocol_name[16];

	if (protocol != 0)
		entry = getservbyname(name, protocol_str(protocol, protocol_name));
	/* most services are registered for one protocol only: "smtp" of a rule for TCP and UDP is 25 in both */
	if (entry == NULL)
		entry = getservbyname(name, NULL);
	if (entry != NULL)
		return ntohs((uint16_t)entry->s_port);
	return TABLE_FIND(services, name);
}

int dscp_parse(const char *name)
{
	uint64_t number;

	if (number_parse(name, &number))
		return number <= 63 ? (int)number : -1;
	return TABLE_FIND(dscp_names, name);
}
