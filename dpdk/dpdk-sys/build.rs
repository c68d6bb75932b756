//! Finds the system's libdpdk by pkg-config, compiles the C shim and generates the bindings.

use std::env;
use std::path::PathBuf;

/// The oldest release whose API the wrapper is written for.
const OLDEST: &str = "22.11";

/// Of the many libraries of DPDK, those that are called. The drivers are plugins that the EAL loads at run time.
const LIBRARIES: [&str; 5] = ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_net"];

/// What the wrapper calls, and the types and constants that go with it.
const FUNCTIONS: &str = "shim_.*|rte_eal_cleanup|rte_strerror|rte_dev_probe|rte_dev_remove|rte_dev_name\
    |rte_thread_register|rte_thread_unregister|rte_log_set_global_level|rte_version\
    |rte_pktmbuf_pool_create|rte_pktmbuf_free_bulk|rte_mempool_avail_count|rte_mempool_in_use_count|rte_mempool_free\
    |rte_eth_dev_(get_port_by_name|info_get|configure|start|stop|close|set_mtu|get_mtu|socket_id|adjust_nb_rx_tx_desc\
    |is_valid_port|count_avail)|rte_eth_(rx|tx)_queue_setup|rte_eth_promiscuous_(enable|disable)\
    |rte_eth_macaddr_get|rte_eth_link_get_nowait|rte_eth_stats_(get|reset)|rte_eth_find_next";
const TYPES: &str =
    "shim_.*|rte_mbuf|rte_mempool|rte_eth_conf|rte_eth_dev_info|rte_eth_stats|rte_eth_link|rte_ether_addr";
const CONSTANTS: &str = "SHIM_.*|RTE_PKTMBUF_HEADROOM|RTE_MAX_LCORE|RTE_MEMPOOL_CACHE_MAX_SIZE\
    |RTE_MAX_ETHPORTS";

/// Bitfields and packed parts that the wrapper does not look into.
const OPAQUE: &str = "rte_mbuf|rte_mempool|rte_device|rte_eth_fdir_conf|rte_eth_dev_portconf|rte_eth_switch_info\
    |rte_eth_rxseg.*|rte_devargs";

fn main() {
    println!("cargo::rerun-if-changed=shim/interrupts.c");
    println!("cargo::rerun-if-changed=shim/shim.c");
    println!("cargo::rerun-if-changed=shim/shim.h");
    let library = pkg_config::Config::new().atleast_version(OLDEST).cargo_metadata(false).probe("libdpdk");
    let library = match library {
        Ok(library) => library,
        Err(error) => {
            println!("cargo::error=libdpdk {OLDEST} or newer was not found by pkg-config: {error}");
            println!("cargo::error=On Debian 12: apt install libdpdk-dev libclang-dev clang pkg-config gcc");
            return;
        }
    };

    // pkg-config's crate keeps include paths and defines; DPDK also needs its architecture flags and forced include.
    let mut flags = vec!["-include".to_owned(), "rte_config.h".to_owned()];
    flags.extend(library.include_paths.iter().map(|path| format!("-I{}", path.display())));
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|architecture| architecture == "x86_64") {
        flags.push("-march=corei7".to_owned());
    }

    let mut shim = cc::Build::new();
    shim.files(["shim/shim.c", "shim/interrupts.c"])
        .opt_level(3)
        .warnings(true)
        .flag_if_supported("-Wno-unused-parameter");
    for flag in &flags {
        shim.flag(flag);
    }
    shim.compile("dpdk_shim");

    for path in &library.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for name in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={name}");
    }

    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(&flags)
        .allowlist_function(FUNCTIONS)
        .allowlist_type(TYPES)
        .allowlist_var(CONSTANTS)
        .opaque_type(OPAQUE)
        .derive_default(true)
        .derive_debug(false)
        .layout_tests(true)
        .prepend_enum_name(false)
        .generate_comments(false)
        .generate()
        .expect("bindgen reads DPDK's headers (libclang-dev is needed)")
        .write_to_file(out)
        .expect("OUT_DIR can be written");
}
