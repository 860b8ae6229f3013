"""A foreign camera server, run by the system's Python: GStreamer's, live, TCP and UDP, with and without a password.

    /usr/bin/python3 gst_server.py PORT PRIVATE_PORT USER PASSWORD     # prints "ready"

PORT serves /h264 /h265 /reordered (B-frames) /sound (with audio); PRIVATE_PORT asks for the password, by digest.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURES = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! "
H264 = f"( {PICTURES} x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 "
LAUNCH = {
    "/h264": f"{H264} )",
    "/reordered": f"( {PICTURES} x264enc bframes=2 b-adapt=false speed-preset=veryfast key-int-max=50 ! "
    "video/x-h264,profile=main ! rtph264pay name=pay0 pt=96 )",
    "/h265": f"( {PICTURES} x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! "
    "rtph265pay name=pay0 pt=96 )",
    "/sound": f"{H264} audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay1 pt=8 )",
}


def serve(port, auth):
    server = GstRtspServer.RTSPServer(service=port)
    server.set_address("127.0.0.1")
    if auth:
        server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    for path, launch in LAUNCH.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch)
        # A pipeline a client: shared media waits for the client that takes its audio, and GStreamer 1.26 aborts if
        # clients of one media join over TCP and UDP together.
        factory.set_shared(False)
        if auth:
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    return server


def main(port, private_port, user, password):
    Gst.init(None)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(2)  # digest
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    servers = [serve(port, None), serve(private_port, auth)]
    print("ready", flush=True)
    GLib.MainLoop().run()
    return servers


main(*sys.argv[1:])
