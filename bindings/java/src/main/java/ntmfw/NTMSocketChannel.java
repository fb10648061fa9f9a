package ntmfw;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.channels.SocketChannel;

/**
 * A connection to a node as a {@link SocketChannel}, for loops around a {@link java.nio.channels.Selector}.
 *
 * <p>The channel is one of Java's own, so that it works with every selector, in blocking and in non-blocking mode. Java
 * takes it for a Unix-domain channel: its addresses are of that kind, options of TCP are set on the socket before, and
 * {@link #remoteAddress} tells who is at the other end.
 *
 * @param channel what is read, written, selected and closed
 * @param remoteAddress the node at the other end
 */
public record NTMSocketChannel(SocketChannel channel, InetSocketAddress remoteAddress) {
    /**
     * Connects and makes a channel of the connection.
     *
     * @param host the name of a node or any other host
     * @param port the port
     * @return the channel, in blocking mode
     * @throws IOException if it cannot be reached
     */
    public static NTMSocketChannel open(String host, int port) throws IOException {
        return of(new NTMSocket(host, port));
    }

    /**
     * Makes a channel of a connection; the socket is closed by that, and what it has not read can be read from the channel.
     *
     * @param socket a connected socket, of which no stream is in use
     * @return the channel, in blocking mode
     * @throws IOException if the socket is not connected
     */
    public static NTMSocketChannel of(NTMSocket socket) throws IOException {
        var remote = (InetSocketAddress) socket.getRemoteSocketAddress();
        try (socket) {
            return new NTMSocketChannel(socket.toChannel(), remote);
        }
    }
}
