"""python3 -m unittest discover perf/profiles: what these profiles send, checked without any generator."""

import ast
import base64
import importlib
import importlib.util
import inspect
import ipaddress
import json
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

import ces_frames
from ces_frames import Binding, Tunnel, Wrong

HERE = os.path.dirname(os.path.abspath(__file__))


def address(text):
    return ipaddress.IPv4Address(text).packed


def binding(number=0, encapsulation="vxlan"):
    tunnel = Tunnel(encapsulation, address("198.51.100.2"), address("192.0.2.2"), 0x123456)
    tag, remote = struct.pack("!I", 0xD01A2B3C + number), struct.pack("!I", 0xE0990011 + number)
    return Binding(address(f"192.168.10.{11 + number}"), address("10.64.0.1"), tag, remote, tunnel)


def listed(**changes):
    one = {
        "host": "192.168.10.11", "proxy": "10.64.0.1", "tag": 1, "remote_tag": 2, "protocol": None, "port": None,
        "tunnel": {"encapsulation": "vxlan", "local": "198.51.100.2", "remote": "192.0.2.2", "id_in": 7, "id_out": 8},
    }
    one.update(changes)
    return one


def read(content):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(content)
        file.flush()
        return ces_frames.read_bindings(file.name)


class Frames(unittest.TestCase):
    def test_hosts_frame_is_this_byte_by_byte(self):
        data, ip = ces_frames.frame(binding(), "egress", 64)
        expected = bytes.fromhex(
            "000000000000" "000000000000" "0800"
            "4500002e" "00004000" "4011" "65cb" "c0a80a0b" "0a400001"  # 46 bytes, DF, TTL 64, UDP
            "0400" "0009" "001a" "26bd"
        ) + bytes(18)
        self.assertEqual((data.hex(), ip), (expected.hex(), 14))

    def test_vxlan_frame_is_this_byte_by_byte(self):
        data, ip = ces_frames.frame(binding(), "ingress", 64)
        outer = bytes.fromhex(
            "000000000000" "000000000000" "0800"
            "45000060" "00004000" "4011" "4e55" "c0000202" "c6336402"  # the peer's locator to ours
            "c411" "12b5" "004c" "0000"  # RFC 7348: port 4789, checksum 0
            "08000000" "12345600"
            "000000000000" "000000000000" "0800"
        )
        self.assertEqual((data[: len(outer)].hex(), ip), (outer.hex(), len(outer)))
        # Source is the peer's tag, destination ours.
        self.assertEqual(data[ip + 12 : ip + 20].hex(), "e0990011" "d01a2b3c")
        self.assertEqual(len(data), 64 - ces_frames.FCS + 50)

    def test_every_checksum_is_right(self):
        for encapsulation in ("vxlan", "geneve", "gre"):
            for size in (64, 65, 594, 1518):
                for direction in ("egress", "ingress"):
                    data, ip = ces_frames.frame(binding(3, encapsulation), direction, size)
                    for at in {14, ip}:
                        self.assertEqual(ces_frames.checksum(data[at : at + 20]), 0)
                    pseudo = data[ip + 12 : ip + 20] + b"\0\x11" + data[ip + 24 : ip + 26]
                    self.assertEqual(ces_frames.checksum(pseudo + data[ip + 20 :]), 0)
                    total = struct.unpack("!H", data[16:18])[0]
                    self.assertEqual(len(data), 14 + total, (encapsulation, size, direction))

    def test_what_the_field_engine_writes_makes_the_same_frames(self):
        bindings = [binding(number) for number in range(5)] + [binding(9, "gre")]
        for direction, expected_groups in (("egress", 1), ("ingress", 2)):
            groups = list(ces_frames.groups(bindings, direction, 594))
            self.assertEqual(len(groups), expected_groups)
            made = set()
            for group in groups:
                for source, destination in group.pairs:
                    data = bytearray(group.frame)
                    data[group.ip + 12 : group.ip + 20] = source + destination
                    data[group.ip + 10 : group.ip + 12] = bytes(2)
                    data[group.ip + 10 : group.ip + 12] = struct.pack("!H", ces_frames.checksum(data[group.ip : group.ip + 20]))
                    made.add(self.comparable(bytes(data), group.ip))
            wanted = {self.comparable(*ces_frames.frame(one, direction, 594)) for one in bindings}
            self.assertEqual(made, wanted)

    @staticmethod
    def comparable(data, ip):
        """Without what TRex's streams leave alone: the datagram's checksum, and the source port of the tunnel packet."""
        data = ces_frames.without_udp_checksum(data, ip)
        return data if ip == 14 or data[23] == 47 else data[:34] + b"\0\0" + data[36:]

    def test_a_mix_has_its_weights_and_every_binding(self):
        bindings = [binding(number) for number in range(3)]
        frames = list(ces_frames.sequence(bindings, "egress", ces_frames.SIZES["imix-simple"], 0, (bytes(6), bytes(6))))
        lengths = [len(data) + ces_frames.FCS for data in frames]
        self.assertEqual({size: lengths.count(size) for size in set(lengths)}, {64: 21, 594: 12, 1518: 3})
        self.assertEqual(len({data[26:30] for data in frames}), 3)

    def test_a_capture_has_what_was_asked_for(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "egress.pcap")
            macs = (ces_frames.mac("02:00:00:00:00:01"), ces_frames.mac("02:00:00:00:00:02"))
            frames = ces_frames.sequence([binding()], "egress", [(64, 1)], 7, macs)
            self.assertEqual(ces_frames.write_pcap(path, frames), 7)
            with open(path, "rb") as file:
                data = file.read()
            self.assertEqual(len(data), 24 + 7 * (16 + 60))
            self.assertEqual(data[40:52], macs[1] + macs[0])
            with self.assertRaisesRegex(Wrong, "no-such"):
                ces_frames.write_pcap(os.path.join(directory, "no-such", "x"), [])


class Input(unittest.TestCase):
    def test_bindings_are_read_and_others_left_out(self):
        local, web = listed(tunnel=None), listed(protocol=6, port=80)
        self.assertEqual(len(read(json.dumps([listed(), local, web]))), 1)

    def test_what_is_wrong_is_said(self):
        without_tag = listed()
        del without_tag["tag"]
        cases = {
            "no binding": [], "cesctl": [without_tag], "cesctl --json": {"a": 1},
            "not known": [listed(tunnel=dict(listed()["tunnel"], encapsulation="ipip"))],
        }
        for reason, content in cases.items():
            with self.assertRaisesRegex(Wrong, reason):
                read(json.dumps(content))
        with self.assertRaisesRegex(Wrong, "Expecting"):
            read("no JSON")
        with self.assertRaisesRegex(Wrong, "/no/such"):
            ces_frames.read_bindings("/no/such")

    def test_sizes_are_checked(self):
        for size in (63, 1519):
            with self.assertRaisesRegex(Wrong, str(size)):
                ces_frames.sizes_of(size, None)
        with self.assertRaisesRegex(Wrong, "imix-simple"):
            ces_frames.sizes_of(64, "imix")


class Scripts(unittest.TestCase):
    def files(self, directory, end):
        names = sorted(name for name in os.listdir(os.path.join(HERE, directory)) if name.endswith(end))
        self.assertTrue(names)
        return [os.path.join(HERE, directory, name) for name in names]

    def test_profiles_are_python_and_register(self):
        for path in self.files("trex", ".py"):
            with open(path, encoding="utf-8") as file:
                tree = ast.parse(file.read(), path)
            functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
            self.assertTrue("register" in functions or os.path.basename(path).startswith("ces_"), path)

    @unittest.skipUnless(shutil.which("luac5.4") or shutil.which("luac"), "no Lua compiler")
    def test_scripts_are_lua(self):
        compiler = shutil.which("luac5.4") or shutil.which("luac")
        for path in self.files("pktgen", ".lua"):
            subprocess.run([compiler, "-p", path], check=True)


def trex(name):
    """A part of TRex's Python library, which is no package of Debian's: it is used where there is one."""
    try:
        return importlib.import_module(name)
    except ImportError as why:
        raise unittest.SkipTest(f"no {name} ({why}): put a TRex's automation/trex_control_plane/interactive into PYTHONPATH")


def profile(name):
    """A profile as TRex loads it."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, "trex", f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.register()


class InTRex(unittest.TestCase):
    def test_stateless_profiles_become_streams_of_these_frames(self):
        api = trex("trex_stl_lib.api")
        if "value_list" not in inspect.signature(api.STLVmFlowVar.__init__).parameters:
            self.skipTest("this trex_stl_lib is too old: its STLVmFlowVar takes no value_list")
        bindings = [listed(), listed(host="192.168.10.12", tag=3, remote_tag=4)]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(bindings, file)
            file.flush()
            for name in ("egress_64", "egress_imix", "ingress_64", "ingress_imix"):
                *streams, probe = profile(name).get_streams(["--bindings", file.name])
                direction = name.split("_")[0]
                sizes = [size for size, _ in ces_frames.sizes_of(64, "imix-simple" if "imix" in name else None)]
                both = ces_frames.shuffled(ces_frames.read_bindings(file.name), 1)
                groups = [group for size in sizes for group in ces_frames.groups(both, direction, size)]
                self.assertEqual(len(streams), len(groups), name)
                for stream, group in zip(streams, groups):
                    made = stream.to_json()
                    self.assertEqual(base64.b64decode(made["packet"]["binary"]), group.frame, name)
                    written = [one.get("pkt_offset") for one in made["vm"]["instructions"]]
                    self.assertEqual(written, [None, None, group.ip + 12, group.ip + 16, group.ip], name)
                self.assertEqual(probe.to_json()["flow_stats"]["rule_type"], "latency", name)

    def test_sessions_become_profiles(self):
        api = trex("trex.astf.api")
        for name in ("sessions_tcp", "sessions_udp"):
            self.assertIsInstance(profile(name).get_profile(["--sessions", "10"]), api.ASTFProfile, name)


if __name__ == "__main__":
    unittest.main()
