//! What the kernel is asked for about an interface that a port is driven through, and only unsafe calls can ask.

use std::ffi::c_void;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What an interface may do to frames between the wire and who reads them, which must not be done to a port's: the reader
/// gets frames without their VLAN tag or with several put together, and what it sends without checksum is sent so
/// (linux/ethtool.h; commands to read and to set each).
const OFFLOADS: [(&str, Command, Command); 6] = [
    // Segments first: they depend on the checksums.
    ("tcp-segmentation-offload", 0x1e, 0x1f),
    ("generic-segmentation-offload", 0x23, 0x24),
    ("generic-receive-offload", 0x2b, 0x2c),
    ("scatter-gather", 0x18, 0x19),
    ("tx-checksumming", 0x16, 0x17),
    ("rx-checksumming", 0x14, 0x15),
];
type Command = u32;

/// `ETHTOOL_GFLAGS` and `ETHTOOL_SFLAGS`.
const FLAGS: (Command, Command) = (0x25, 0x26);
/// `ETH_FLAG_RXVLAN`, `ETH_FLAG_TXVLAN`, `ETH_FLAG_LRO`.
const FLAG_OFFLOADS: [(&str, u32); 3] =
    [("rx-vlan-offload", 1 << 8), ("tx-vlan-offload", 1 << 7), ("large-receive-offload", 1 << 15)];

/// `SIOCETHTOOL` (linux/sockios.h).
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq` as far as this call uses it: 40 bytes on 64-bit machines.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut c_void,
    rest: [u8; 16],
}

fn ask(socket: &UdpSocket, interface: &str, command: Command, data: u32) -> io::Result<u32> {
    let mut name = [0; libc::IFNAMSIZ];
    let bytes = interface.as_bytes();
    if bytes.is_empty() || bytes.len() >= name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    name[..bytes.len()].copy_from_slice(bytes);
    let mut value = Value { command, data };
    let mut request = Request { name, data: (&raw mut value).cast(), rest: [0; 16] };
    // SAFETY: the socket is open; the request is a whole `ifreq` with a terminated name, and its pointer is to the
    // `ethtool_value` that each of these commands takes; both live until the call returns.
    if unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data)
}

/// Turns off whatever changes frames between the wire and an interface's port. Names what stays on all the same.
pub fn turn_offloads_off(interface: &str) -> io::Result<Vec<&'static str>> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)))?;
    let mut left = Vec::new();
    for (name, get, set) in OFFLOADS {
        // What a driver does not know of it does not do.
        let on = |socket: &UdpSocket| ask(socket, interface, get, 0).is_ok_and(|on| on != 0);
        if on(&socket) {
            let _ = ask(&socket, interface, set, 0);
            // Without a frame in several pieces there are no segments; what is left of it does no harm.
            if on(&socket) && name != "scatter-gather" {
                left.push(name);
            }
        }
    }
    let all = FLAG_OFFLOADS.iter().fold(0, |all, (_, flag)| all | flag);
    let flags = ask(&socket, interface, FLAGS.0, 0)?;
    if flags & all != 0 {
        for (_, flag) in FLAG_OFFLOADS {
            let now = ask(&socket, interface, FLAGS.0, 0)?;
            let _ = ask(&socket, interface, FLAGS.1, now & !flag);
        }
        let flags = ask(&socket, interface, FLAGS.0, 0)?;
        left.extend(FLAG_OFFLOADS.iter().filter(|(_, flag)| flags & flag != 0).map(|(name, _)| *name));
    }
    Ok(left)
}

/// `BPF_PROG_GET_FD_BY_ID` of bpf(2).
const PROGRAM_BY_ID: libc::c_int = 13;

/// The part of `union bpf_attr` that this command reads.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// The BPF program with this number. It stays loaded as long as the result is held.
pub fn bpf_program(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = ById { id, ..ById::default() };
    // SAFETY: the attributes are those of the command, of the size that is told, and live until the call returns.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_BY_ID, &raw mut attributes, size_of::<ById>() as libc::c_uint)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert_eq!(turn_offloads_off("none-such0").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(turn_offloads_off("").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(turn_offloads_off(&"x".repeat(40)).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn no_program_has_the_last_number() {
        assert!(bpf_program(u32::MAX).is_err());
    }

    #[test]
    fn the_request_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<Request>(), size_of::<libc::ifreq>());
    }
}
