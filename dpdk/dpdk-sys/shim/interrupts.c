/* Two functions of libc's, done otherwise for DPDK's interrupt thread: for the sake of net_memif, and only where such a port
 * is opened. Then the EAL's calls of epoll_wait and that driver's of sendmsg come here, by their entries in the tables that
 * the dynamic linker has filled in for these two libraries (System V ABI, "Global Offset Table", "Procedure Linkage Table").
 * Everything else in the process goes on calling libc. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_alarm.h>

#include "shim.h"

#if defined(__x86_64__)
#define TABLE_ENTRY(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT)
#elif defined(__aarch64__)
#define TABLE_ENTRY(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT)
#else
#define TABLE_ENTRY(type) 0
#endif

static void (*begin_of_interrupts)(void), (*end_of_interrupts)(void);
/* Nonzero in the interrupt thread. */
static _Thread_local int is_interrupt_thread;

/* The interrupt thread has no hook of its own. But it waits in epoll_wait for what happens, and sees to it between two
 * calls. */
static int wait_between_interrupts(int epoll, struct epoll_event *events, int room, int timeout)
{
	if (!is_interrupt_thread)
		return epoll_wait(epoll, events, room, timeout);
	end_of_interrupts();
	int count = epoll_wait(epoll, events, room, timeout);
	if (count > 0)
		begin_of_interrupts();
	return count;
}

/* What a peer does not get because it has gone is as good as sent: that it has gone is what the interrupt thread hears next.
 * net_memif needs that. If its greeting for who has just connected fails, it closes the socket and frees what belongs to it
 * with the socket still in the EAL's list, and for a socket that is closed the EAL ends the process (DPDK 22.11,
 * memif_listener_handler; eal_intr_thread_main). */
static ssize_t send_to_who_may_be_gone(int socket, const struct msghdr *message, int flags)
{
	ssize_t sent = sendmsg(socket, message, flags);

	if (sent < 0 && is_interrupt_thread && (errno == EPIPE || errno == ECONNRESET)) {
		sent = 0;
		for (size_t i = 0; i < message->msg_iovlen; i++)
			sent += (ssize_t)message->msg_iov[i].iov_len;
	}
	return sent;
}

/* A function that a library calls, and what it is to call instead. */
struct call {
	const char *library, *name;
	void *instead;
	int found;
};

/* Writes an entry of a table. Its page is read-only, and is so again afterwards, where the library was linked so. */
static int redirect(void **entry, void *instead, int is_read_only)
{
	uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
	void *page = (void *)((uintptr_t)entry & ~(size - 1));

	if (is_read_only && mprotect(page, size, PROT_READ | PROT_WRITE) < 0)
		return -errno;
	__atomic_store_n(entry, instead, __ATOMIC_RELEASE);
	if (is_read_only && mprotect(page, size, PROT_READ) < 0)
		return -errno;
	return 0;
}

static int find_calls(struct dl_phdr_info *object, size_t size, void *wanted)
{
	struct call *call = wanted;
	const ElfW(Dyn) *dynamic = NULL;
	uintptr_t read_only = 0, read_only_end = 0;
	const ElfW(Rela) *tables[2] = {NULL, NULL};
	size_t bytes[2] = {0, 0};
	const ElfW(Sym) *symbols = NULL;
	const char *names = NULL;

	(void)size;
	if (object->dlpi_name == NULL || strstr(object->dlpi_name, call->library) == NULL)
		return 0;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		if (part->p_type == PT_DYNAMIC)
			dynamic = (const void *)(object->dlpi_addr + part->p_vaddr);
		if (part->p_type == PT_GNU_RELRO) {
			read_only = object->dlpi_addr + part->p_vaddr;
			read_only_end = read_only + part->p_memsz;
		}
	}
	for (; dynamic != NULL && dynamic->d_tag != DT_NULL; dynamic++) {
		switch (dynamic->d_tag) {
		case DT_JMPREL: tables[0] = (const void *)dynamic->d_un.d_ptr; break;
		case DT_PLTRELSZ: bytes[0] = dynamic->d_un.d_val; break;
		case DT_RELA: tables[1] = (const void *)dynamic->d_un.d_ptr; break;
		case DT_RELASZ: bytes[1] = dynamic->d_un.d_val; break;
		case DT_SYMTAB: symbols = (const void *)dynamic->d_un.d_ptr; break;
		case DT_STRTAB: names = (const void *)dynamic->d_un.d_ptr; break;
		default: break;
		}
	}
	if (symbols == NULL || names == NULL)
		return 0;
	for (int table = 0; table < 2; table++) {
		for (size_t i = 0; tables[table] != NULL && i < bytes[table] / sizeof(ElfW(Rela)); i++) {
			const ElfW(Rela) *entry = &tables[table][i];
			const char *name = names + symbols[ELF64_R_SYM(entry->r_info)].st_name;

			if (!TABLE_ENTRY(ELF64_R_TYPE(entry->r_info)) || strcmp(name, call->name) != 0)
				continue;
			uintptr_t place = object->dlpi_addr + entry->r_offset;
			int is_read_only = place >= read_only && place < read_only_end;
			int failed = redirect((void **)place, call->instead, is_read_only);
			if (failed < 0)
				return failed;
			call->found = 1;
		}
	}
	return 0;
}

/* Alarms are one of the things that the interrupt thread sees to. */
static void in_interrupt_thread(void *unused)
{
	(void)unused;
	is_interrupt_thread = 1;
}

int shim_interrupts(void (*begin)(void), void (*end)(void))
{
	struct call calls[] = {
		{"librte_eal.so", "epoll_wait", (void *)wait_between_interrupts, 0},
		{"librte_net_memif.so", "sendmsg", (void *)send_to_who_may_be_gone, 0},
	};

	begin_of_interrupts = begin;
	end_of_interrupts = end;
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		int failed = dl_iterate_phdr(find_calls, &calls[i]);

		if (failed < 0)
			return failed;
		if (!calls[i].found)
			return -ENOSYS;
	}
	return rte_eal_alarm_set(1, in_interrupt_thread, NULL);
}
