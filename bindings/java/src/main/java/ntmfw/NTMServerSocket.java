package ntmfw;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import ntmfw.internal.StreamImpl;

/**
 * A {@link ServerSocket} to which nodes connect, and nobody else: a port of this node's virtual addresses.
 *
 * <p>{@link #accept} gives an {@link NTMSocket}, whose {@link Socket#getInetAddress} has the name of the node that called.
 */
public class NTMServerSocket extends ServerSocket {
    /**
     * A server socket that is to be bound.
     *
     * @throws IOException if none can be made
     */
    public NTMServerSocket() throws IOException {
        super(new StreamImpl());
        setReuseAddress(true);
    }

    /**
     * Listens at a port.
     *
     * @param port the port, 0 for any that is free
     * @throws IOException if the port cannot be had
     */
    public NTMServerSocket(int port) throws IOException {
        this(port, 0, null);
    }

    /**
     * Listens at a port.
     *
     * @param port the port, 0 for any that is free
     * @param backlog how many connections may wait to be accepted, 0 for the usual number
     * @throws IOException if the port cannot be had
     */
    public NTMServerSocket(int port, int backlog) throws IOException {
        this(port, backlog, null);
    }

    /**
     * Listens at a port of one address.
     *
     * @param port the port, 0 for any that is free
     * @param backlog how many connections may wait to be accepted, 0 for the usual number
     * @param address an address of this node, {@code null} for all
     * @throws IOException if the port cannot be had
     */
    public NTMServerSocket(int port, int backlog, InetAddress address) throws IOException {
        this();
        try {
            bind(new InetSocketAddress(address, port), backlog);
        } catch (IOException | IllegalArgumentException failure) {
            close();
            throw failure;
        }
    }

    @Override
    public Socket accept() throws IOException {
        if (isClosed()) {
            throw new SocketException("Socket is closed");
        }
        if (!isBound()) {
            throw new SocketException("Socket is not bound yet");
        }
        NTMSocket accepted = new NTMSocket(new StreamImpl());
        implAccept(accepted);
        return accepted;
    }
}
