/* Functions for what DPDK offers only as static inline code, and the capture of its log. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "shim.h"

#define SAME_PLACE(field) \
	_Static_assert(offsetof(struct shim_mbuf, field) == offsetof(struct rte_mbuf, field), "rte_mbuf." #field " has moved")
SAME_PLACE(buf_addr);
SAME_PLACE(data_off);
SAME_PLACE(refcnt);
SAME_PLACE(nb_segs);
SAME_PLACE(port);
SAME_PLACE(ol_flags);
SAME_PLACE(packet_type);
SAME_PLACE(pkt_len);
SAME_PLACE(data_len);
SAME_PLACE(vlan_tci);
SAME_PLACE(vlan_tci_outer);
SAME_PLACE(buf_len);
SAME_PLACE(pool);

/* The log: the last bytes written, oldest overwritten first. */
#define LOG_BYTES 16384
static char log_bytes[LOG_BYTES];
static size_t log_start, log_length;
static uint64_t log_lost;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t log_write(void *cookie, const char *from, size_t length)
{
	(void)cookie;
	pthread_mutex_lock(&log_lock);
	for (size_t i = 0; i < length; i++) {
		if (log_length == LOG_BYTES) {
			if (log_bytes[log_start] == '\n')
				log_lost++;
			log_start = (log_start + 1) % LOG_BYTES;
			log_length--;
		}
		log_bytes[(log_start + log_length++) % LOG_BYTES] = from[i];
	}
	pthread_mutex_unlock(&log_lock);
	return (ssize_t)length;
}

size_t shim_log_take(char *to, size_t room)
{
	pthread_mutex_lock(&log_lock);
	size_t count = log_length < room ? log_length : room;
	for (size_t i = 0; i < count; i++)
		to[i] = log_bytes[(log_start + i) % LOG_BYTES];
	log_start = (log_start + count) % LOG_BYTES;
	log_length -= count;
	pthread_mutex_unlock(&log_lock);
	return count;
}

uint64_t shim_log_lost(void)
{
	pthread_mutex_lock(&log_lock);
	uint64_t lost = log_lost;
	pthread_mutex_unlock(&log_lock);
	return lost;
}

int shim_eal_init(int argc, char **argv)
{
	cookie_io_functions_t functions = { .write = log_write };
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream != NULL) {
		setvbuf(stream, NULL, _IONBF, 0);
		rte_openlog_stream(stream);
	}
	/* The EAL binds the calling thread to its main lcore, and threads inherit that. Here threads are placed by their
	 * owner. */
	cpu_set_t cores;
	int known = pthread_getaffinity_np(pthread_self(), sizeof(cores), &cores) == 0;
	int result = rte_eal_init(argc, argv);
	if (known)
		pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores);
	return result;
}

int shim_errno(void)
{
	return rte_errno;
}

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, frames, count);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, frames, count);
}

void shim_mbuf_free(struct rte_mbuf *frame)
{
	rte_pktmbuf_free(frame);
}

int shim_mbuf_linearize(struct rte_mbuf *frame)
{
	return rte_pktmbuf_linearize(frame);
}

int shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

int shim_link_get(uint16_t port, struct shim_link *link)
{
	struct rte_eth_link found;

	memset(&found, 0, sizeof(found));
	int result = rte_eth_link_get_nowait(port, &found);
	link->speed_mbps = found.link_speed;
	link->up = found.link_status == RTE_ETH_LINK_UP;
	link->full_duplex = found.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return result;
}

const char *shim_device_name(uint16_t port)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(port, &info) != 0 || info.device == NULL)
		return NULL;
	return rte_dev_name(info.device);
}

int shim_device_remove(uint16_t port)
{
	struct rte_eth_dev_info info;
	int result = rte_eth_dev_info_get(port, &info);

	if (result != 0)
		return result;
	return info.device == NULL ? -ENODEV : rte_dev_remove(info.device);
}
