/* What the bindings are made from: DPDK's headers, and functions for what exists there only as static inline code or
 * macros. */
#ifndef CES_DPDK_SHIM_H
#define CES_DPDK_SHIM_H

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Macros with 64-bit shifts, as constants. */
static const uint64_t SHIM_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t SHIM_RX_QINQ_STRIPPED = RTE_MBUF_F_RX_QINQ_STRIPPED;
static const uint64_t SHIM_RSS_IPV4 = RTE_ETH_RSS_IPV4;
static const uint64_t SHIM_RSS_FRAG_IPV4 = RTE_ETH_RSS_FRAG_IPV4;
static const uint64_t SHIM_RSS_IPV4_OTHER = RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t SHIM_RSS_IPV4_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t SHIM_RSS_IPV4_UDP = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint64_t SHIM_RSS_L3_SRC_ONLY = RTE_ETH_RSS_L3_SRC_ONLY;
static const uint32_t SHIM_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t SHIM_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const int SHIM_SOCKET_ANY = SOCKET_ID_ANY;

/* The part of an mbuf that the wrapper works with. The position of each field is asserted in shim.c, so that a release of
 * DPDK that moves one does not compile. */
struct shim_mbuf {
	uint8_t *buf_addr;
	uint64_t buf_iova;
	uint16_t data_off;
	uint16_t refcnt;
	uint16_t nb_segs;
	uint16_t port;
	uint64_t ol_flags;
	uint32_t packet_type;
	uint32_t pkt_len;
	uint16_t data_len;
	uint16_t vlan_tci;
	uint32_t hash[2];
	uint16_t vlan_tci_outer;
	uint16_t buf_len;
	struct rte_mempool *pool;
};

/* Link state without the bitfield that bindgen and compilers may lay out differently. */
struct shim_link {
	uint32_t speed_mbps;
	uint8_t up;
	uint8_t full_duplex;
};

/* rte_eal_init with the log kept (shim_log_take) and the caller's CPU affinity given back afterwards. */
int shim_eal_init(int argc, char **argv);
/* Moves what the EAL and the drivers have logged since the last call into `to`; returns the bytes moved. */
size_t shim_log_take(char *to, size_t room);
/* Log lines that had to be overwritten because nobody took them. */
uint64_t shim_log_lost(void);

/* Has DPDK's interrupt thread call `begin` each time before it sees to what has happened, and `end` when it is done; `end`,
 * too, when it does so for the first time. Once, after shim_eal_init and before the first net_memif. Negative if that cannot
 * be: -ENOSYS if the EAL or that driver is no library of its own in which the calls to redirect were found. */
int shim_interrupts(void (*begin)(void), void (*end)(void));

int shim_errno(void);

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool);
int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count);
void shim_mbuf_free(struct rte_mbuf *frame);
int shim_mbuf_linearize(struct rte_mbuf *frame);
int shim_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);

int shim_link_get(uint16_t port, struct shim_link *link);
/* The name of a port's device, or NULL. */
const char *shim_device_name(uint16_t port);
/* rte_dev_remove for a port's device. */
int shim_device_remove(uint16_t port);

#endif
