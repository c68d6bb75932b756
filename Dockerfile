# syntax=docker/dockerfile:1
# The gateway on Debian 12: built with the stable compiler, run with Debian's DPDK.
#
#   docker build -t ces .
#   docker run --rm --network host --cap-add NET_ADMIN --cap-add NET_RAW --cap-add IPC_LOCK --cap-add SYS_NICE \
#       --device /dev/net/tun -v /dev/hugepages:/dev/hugepages -v /etc/ces:/etc/ces:ro ces
#
# It has the host's network and runs as root, as cesd does anywhere. /etc/ces is as in README.md. Huge pages are set aside on
# the host (scripts/hugepages); without [memory] huge_pages = true the mount of /dev/hugepages can go. A NIC by PCI address
# needs its VFIO group as well: --device /dev/vfio, and an IOMMU. net_af_xdp loads a program: --cap-add BPF.
# cesctl is inside: docker exec NAME cesctl show ports.

FROM rust:1-bookworm AS builder
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang libclang-dev libdpdk-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p ces-control --bins \
    && mkdir /out \
    && cp target/release/cesd target/release/cesctl /out/ \
    # Which of Debian's packages hold the libraries that cesd is linked with: DPDK is many small ones.
    && ldd /out/cesd | awk '/librte_|libbpf|libxdp|libpcap|libnuma|libfdt|libjansson/ { print $3 }' | xargs -r realpath \
    | xargs -r dpkg-query -S | cut -d: -f1 | sort -u >/out/packages

FROM debian:bookworm-slim
COPY --from=builder /out/ /out/
# The drivers are plug-ins that cesd is not linked with: DPDK looks for them when it starts.
RUN apt-get update \
    && xargs -a /out/packages apt-get install -y --no-install-recommends \
        librte-meta-net librte-mempool-ring23 librte-bus-pci23 librte-bus-vdev23 iproute2 \
    && mv /out/cesd /out/cesctl /usr/local/bin/ \
    && rm -rf /out /var/lib/apt/lists/*
ENTRYPOINT ["/usr/local/bin/cesd"]
CMD ["--config", "/etc/ces/cesd.toml"]
