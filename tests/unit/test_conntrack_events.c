/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_conntrack_events.c - which events the kernel lets through to us
 *
 * The filter on a socket of its own, to which messages are sent as the kernel writes them.
 */
#include "tests/unit/fixture.h"

#include <arpa/inet.h>
#include <unistd.h>

#include "conntrack/entry.c" /* NOLINT(bugprone-suspicious-include) */
#include "conntrack/events.c" /* NOLINT(bugprone-suspicious-include) */

#define VALUE 0x8000u
#define MASK 0xff00u
#define OTHER_PROTOCOL 0xff /* no TCP state */

struct scene {
	int here, there;
};

static int set_up(void **state)
{
	static struct scene scene;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
	scene = (struct scene){ pair[0], pair[1] };
	assert_true(attach_filter(scene.there, VALUE, MASK));
	*state = &scene;
	return 0;
}

static int tear_down(void **state)
{
	const struct scene *scene = *state;

	close(scene->here);
	close(scene->there);
	return 0;
}

static bool passes(const struct scene *scene, const struct nlmsghdr *message)
{
	char got[1024];

	assert_int_equal(send(scene->here, message, message->nlmsg_len, 0), message->nlmsg_len);
	return recv(scene->there, got, sizeof(got), 0) == (ssize_t)message->nlmsg_len;
}

static struct nlmsghdr *put(void *buffer, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	message->nlmsg_flags = flags;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = AF_INET;
	return message;
}

static bool event_passes(const struct scene *scene, uint16_t type, uint16_t flags, uint8_t tcp_state, uint32_t mark)
{
	_Alignas(struct nlmsghdr) char buffer[1024];
	struct nlmsghdr *message = put(buffer, type, flags);

	mnl_attr_put_u32(message, CTA_STATUS, 0);
	if (tcp_state != OTHER_PROTOCOL) {
		struct nlattr *info = mnl_attr_nest_start(message, CTA_PROTOINFO),
			      *tcp = mnl_attr_nest_start(message, CTA_PROTOINFO_TCP);

		mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_STATE, tcp_state);
		mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, TCP_CONNTRACK_TIME_WAIT);
		mnl_attr_nest_end(message, tcp);
		mnl_attr_nest_end(message, info);
	}
	if (mark)
		mnl_attr_put_u32(message, CTA_MARK, htonl(mark));
	return passes(scene, message);
}

static bool update_passes(const struct scene *scene, uint8_t tcp_state)
{
	return event_passes(scene, IPCTNL_MSG_CT_NEW, 0, tcp_state, VALUE | 1);
}

static void test_marks(void **state)
{
	const uint16_t types[] = { IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_DELETE };
	const uint8_t states[] = { OTHER_PROTOCOL, TCP_CONNTRACK_SYN_SENT };

	for (size_t i = 0; i < sizeof(states); i++) {
		for (size_t j = 0; j < sizeof(types) / sizeof(*types); j++) {
			const uint16_t type = types[j];

			assert_true(event_passes(*state, type, 0, states[i], VALUE));
			assert_true(event_passes(*state, type, 0, states[i], 0xabcd0000 | VALUE | 0xef));
			assert_false(event_passes(*state, type, 0, states[i], VALUE | 0x100));
			assert_false(event_passes(*state, type, 0, states[i], 0x80));
			assert_false(event_passes(*state, type, 0, states[i], 0));
		}
	}
}

static void test_states(void **state)
{
	for (unsigned number = TCP_CONNTRACK_NONE; number <= TCP_CONNTRACK_SYN_SENT2; number++) {
		const uint8_t i = (uint8_t)number;
		const bool news = i != TCP_CONNTRACK_ESTABLISHED && i != TCP_CONNTRACK_TIME_WAIT;

		assert_int_equal(update_passes(*state, i), news);
		/* an entry's first and last event say that it is there, and gone */
		assert_true(event_passes(*state, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, i, VALUE));
		assert_true(event_passes(*state, IPCTNL_MSG_CT_DELETE, 0, i, VALUE));
		assert_false(event_passes(*state, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, i, 0));
	}
	assert_true(update_passes(*state, OTHER_PROTOCOL));
}

/* An entry of another protocol may have particulars, too */
static void test_other_particulars(void **state)
{
	_Alignas(struct nlmsghdr) char buffer[1024];
	struct nlmsghdr *message = put(buffer, IPCTNL_MSG_CT_NEW, 0);
	struct nlattr *info = mnl_attr_nest_start(message, CTA_PROTOINFO),
		      *sctp = mnl_attr_nest_start(message, CTA_PROTOINFO_SCTP);

	mnl_attr_put_u8(message, CTA_PROTOINFO_SCTP_STATE, TCP_CONNTRACK_ESTABLISHED);
	mnl_attr_nest_end(message, sctp);
	mnl_attr_nest_end(message, info);
	mnl_attr_put_u32(message, CTA_MARK, htonl(VALUE));
	assert_true(passes(*state, message));
	/* TCP, but no state */
	message = put(buffer, IPCTNL_MSG_CT_NEW, 0);
	info = mnl_attr_nest_start(message, CTA_PROTOINFO);
	mnl_attr_nest_end(message, mnl_attr_nest_start(message, CTA_PROTOINFO_TCP));
	mnl_attr_nest_end(message, info);
	mnl_attr_put_u32(message, CTA_MARK, htonl(VALUE));
	assert_true(passes(*state, message));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_marks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_states, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_particulars, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
