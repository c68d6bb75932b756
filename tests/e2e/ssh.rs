//! Logins by ssh: a server with keys of its own on a node, and how its client begins.

use ces_tests::lab::{Background, Lab};

/// A server on this address and port of a node, whose keys stand in a directory of the lab's; and the line of its client, but for
/// where it goes.
pub(crate) fn server(lab: &Lab, node: &str, socket: &str, directory: &str) -> (Background, String) {
    let at = lab.directory().join(directory);
    let at = at.display();
    let keys = format!(
        "mkdir -p -m 700 {at}/home/.ssh && rm -f {at}/server {at}/client && dropbearkey -t ed25519 -f {at}/server && \
         ssh-keygen -q -t ed25519 -N '' -f {at}/client && cp {at}/client.pub {at}/home/.ssh/authorized_keys"
    );
    lab.run(node, &keys).expect();
    // The node has mounts of its own: nobody's home but this server's is changed.
    let line = format!(
        "sh -c 'mount --bind {at}/home /root && exec dropbear -F -E -s -r {at}/server -p {socket} -P {at}/pid'"
    );
    let server = lab.serve(node, socket, &line);
    let options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
    (server, format!("ssh -i {at}/client {options}"))
}
