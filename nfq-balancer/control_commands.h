/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_commands.h - every command of the control socket, once
 *
 * X(name, arguments, least, most, function, help). The daemon makes its dispatch
 * table and its `help` of it, the client its help without a daemon. `least` and
 * `most` count the words behind the name.
 */
#ifndef NFQB_CONTROL_COMMANDS_H
#define NFQB_CONTROL_COMMANDS_H

#define CONTROL_MAX_WORDS 24 /* in one line */

#define CONTROL_COMMANDS(X)                                                                                            \
	X("help", "[COMMAND]", 0, 2, control_help, "this list, or the commands that start with COMMAND")               \
	X("status", "", 0, 0, control_status, "is it well: one screen")                                                \
	X("show links", "", 0, 0, control_show_links, "links: state, weight, capacity, mark, table, gateways")         \
	X("show groups", "", 0, 0, control_show_groups, "groups: links by tier, scheduler, stickiness")                \
	X("show rules", "", 0, 0, control_show_rules, "rules in order, with the new flows each has taken")             \
	X("show stats", "", 0, 0, control_show_stats, "counters of workers, links, feedback, queues and kernel")       \
	X("show config", "", 0, 0, control_show_config, "the running configuration, defaults included")                \
	X("show decisions", "[N]", 0, 1, control_show_decisions, "the last N decisions (20), newest last")             \
	X("show flows", "[link NAME] [client ADDR] [port N] [proto NAME]", 0, 8, control_flows,                        \
	  "the kernel's connections with their links")                                                                 \
	X("explain", "PROTO SRC SPORT DST DPORT [iface NAME] [from router] [dscp N] [mark N]", 5, 13, control_explain, \
	  "why a flow is on its link, or where a new one would go")                                                    \
	X("set weight", "LINK N", 2, 2, control_set_weight, "from the next flow on; existing flows stay")              \
	X("set link", "LINK up|down|drain|auto", 2, 2, control_set_link, "overrule, or follow, the interface")         \
	X("set scheduler", "GROUP NAME", 2, 2, control_set_scheduler, "as in the file, from the next flow on")         \
	X("reload", "", 0, 0, control_reload, "read the configuration again; a broken one changes nothing")            \
	X("save", "", 0, 0, control_save, "keep the values set at runtime over a restart")                             \
	X("watch", "[decisions|events] [link NAME] [client ADDR] [rule NAME]", 0, 7, control_watch,                    \
	  "decisions and events as they happen, until the next line")                                                  \
	X("quit", "", 0, 0, control_quit, "close this connection")

#endif
