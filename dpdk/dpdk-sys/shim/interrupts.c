/* Two functions of libc's, done otherwise for DPDK's interrupt thread and as ever for all others. The EAL and its drivers call
 * those of this file, since the linker exports a function of the program that a shared library on its line asks for, and the
 * program's come before libc's. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_alarm.h>

#include "shim.h"

static void (*begin_of_interrupts)(void), (*end_of_interrupts)(void);
/* Nonzero in the interrupt thread. */
static _Thread_local int is_interrupt_thread;

/* The interrupt thread has no hook of its own. But it waits in epoll_wait for what happens, and sees to it between two calls.
 * libc itself makes epoll_wait of epoll_pwait without a signal mask, and both are points of cancellation. */
int epoll_wait(int epoll, struct epoll_event *events, int room, int timeout)
{
	if (!is_interrupt_thread)
		return epoll_pwait(epoll, events, room, timeout, NULL);
	end_of_interrupts();
	int count = epoll_pwait(epoll, events, room, timeout, NULL);
	if (count > 0)
		begin_of_interrupts();
	return count;
}

/* What a peer does not get because it has gone is as good as sent: that it has gone is what the interrupt thread hears next.
 * net_memif needs that. If its greeting for who has just connected fails, it closes the socket and frees what belongs to it
 * with the socket still in the EAL's list, and for a socket that is closed the EAL ends the process (DPDK 22.11,
 * memif_listener_handler; eal_intr_thread_main). */
ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
	ssize_t sent = syscall(SYS_sendmsg, socket, message, flags);

	if (sent < 0 && is_interrupt_thread && (errno == EPIPE || errno == ECONNRESET)) {
		sent = 0;
		for (size_t i = 0; i < message->msg_iovlen; i++)
			sent += (ssize_t)message->msg_iov[i].iov_len;
	}
	return sent;
}

/* Alarms are one of the things that the interrupt thread sees to. */
static void in_interrupt_thread(void *unused)
{
	(void)unused;
	is_interrupt_thread = 1;
}

int shim_interrupts(void (*begin)(void), void (*end)(void))
{
	begin_of_interrupts = begin;
	end_of_interrupts = end;
	return rte_eal_alarm_set(1, in_interrupt_thread, NULL);
}
