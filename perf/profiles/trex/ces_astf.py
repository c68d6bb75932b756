"""What the ASTF profiles of TRex have in common: sessions from hosts of one realm, through two gateways, to hosts of the
other.

Port 0 is the first realm, port 1 the other. Clients are the hosts; servers are the proxy addresses that stand for the far
hosts, so every host must be connected with every name beforehand, and names must have been asked for in the same order by
each, since a gateway gives the lowest free address of the pool to the next name. The far side knows clients and servers
by other addresses: servers are found by their port alone.

What ASTF cannot do: sessions that begin with a DNS query. Its servers' addresses are fixed before it starts, and no command
of its programs reads an answer. cesload's DNS-triggered arrivals have no counterpart here.

Not run here with TRex: see ../README.md.
"""

import argparse

from trex.astf.api import (
    ASTFAssociationRule,
    ASTFIPGen,
    ASTFIPGenDist,
    ASTFIPGenGlobal,
    ASTFProfile,
    ASTFProgram,
    ASTFTCPClientTemplate,
    ASTFTCPServerTemplate,
    ASTFTemplate,
)

PORT = 8080


class Sessions:
    """Sessions of one protocol: a request, an answer, and so often again."""

    def __init__(self, protocol):
        self.stream = protocol == "tcp"

    def get_profile(self, tunables, **_):
        parser = argparse.ArgumentParser(description="Sessions between two realms")
        parser.add_argument("--clients", default="192.168.16.0-192.168.19.231", help="the hosts' addresses")
        parser.add_argument("--servers", default="10.64.0.1-10.64.0.10", help="proxy addresses, the same for each host")
        parser.add_argument("--cps", type=float, default=1.0, help="new sessions a second, times -m")
        parser.add_argument("--sessions", type=int, default=0, help="so many at a time and no more; 0 = no limit")
        parser.add_argument("--exchanges", type=int, default=1, help="requests and answers of a session")
        parser.add_argument("--bytes", type=int, default=18, help="of each of them")
        given = parser.parse_args(tunables)
        generator = ASTFIPGen(
            glob=ASTFIPGenGlobal(ip_offset="0.0.0.0"),
            dist_client=ASTFIPGenDist(ip_range=given.clients.split("-"), distribution="seq"),
            dist_server=ASTFIPGenDist(ip_range=given.servers.split("-"), distribution="seq"),
        )
        client, server = (ASTFProgram(stream=self.stream) for _ in range(2))
        for _ in range(given.exchanges):
            self.send(client, given.bytes)
            self.receive(server, given.bytes)
            self.send(server, given.bytes)
            self.receive(client, given.bytes)
        limit = {"limit": given.sessions, "cont": True} if given.sessions else {}
        template = ASTFTemplate(
            client_template=ASTFTCPClientTemplate(
                program=client, ip_gen=generator, port=PORT, cps=given.cps, **limit
            ),
            server_template=ASTFTCPServerTemplate(program=server, assoc=ASTFAssociationRule(port=PORT)),
        )
        return ASTFProfile(default_ip_gen=generator, templates=template)

    def send(self, program, length):
        if self.stream:
            program.send(bytes(length))
        else:
            program.send_msg(bytes(length))

    def receive(self, program, length):
        if self.stream:
            program.recv(length, clear=True)
        else:
            program.recv_msg(1, clear=True)
