package ntmfw.internal;

import java.io.IOException;
import java.net.DatagramSocketImpl;
import java.net.InetAddress;
import java.net.NetworkInterface;
import java.net.SocketAddress;
import java.net.SocketException;

/** Datagrams from one node to one other: whatever is about groups is refused. */
abstract class UnicastImpl extends DatagramSocketImpl {
    @Override
    @Deprecated
    protected void setTTL(byte hops) throws IOException {
        throw noMulticast();
    }

    @Override
    @Deprecated
    protected byte getTTL() throws IOException {
        throw noMulticast();
    }

    @Override
    protected void setTimeToLive(int hops) throws IOException {
        throw noMulticast();
    }

    @Override
    protected int getTimeToLive() throws IOException {
        throw noMulticast();
    }

    @Override
    protected void join(InetAddress group) throws IOException {
        throw noMulticast();
    }

    @Override
    protected void leave(InetAddress group) throws IOException {
        throw noMulticast();
    }

    @Override
    protected void joinGroup(SocketAddress group, NetworkInterface through) throws IOException {
        throw noMulticast();
    }

    @Override
    protected void leaveGroup(SocketAddress group, NetworkInterface through) throws IOException {
        throw noMulticast();
    }

    private static SocketException noMulticast() {
        return new SocketException("there is no multicast between nodes");
    }
}
