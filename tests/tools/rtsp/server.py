"""A server of RTSP (GStreamer's): /test plays a picture and a tone, /record keeps the pictures that it is sent.

server.py ADDRESS PORT DIRECTORY
"""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PLAYED = (
    "( videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! jpegenc"
    "  ! rtpjpegpay name=pay0 pt=26"
    "  audiotestsrc is-live=true ! audio/x-raw,rate=8000 ! alawenc ! rtppcmapay name=pay1 pt=8 )"
)


def main(address, port, directory):
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(address)
    server.set_service(port)
    mounts = server.get_mount_points()
    plays = GstRtspServer.RTSPMediaFactory()
    plays.set_launch(PLAYED)
    mounts.add_factory("/test", plays)
    records = GstRtspServer.RTSPMediaFactory()
    records.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    records.set_launch(f"( rtpmp4vdepay name=depay0 ! multifilesink location={directory}/frame-%05d )")
    mounts.add_factory("/record", records)
    server.attach(None)
    GLib.MainLoop().run()


main(*sys.argv[1:])
