package ntmfw;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import javax.net.SocketFactory;

/**
 * Makes {@link NTMSocket}s, for everything that takes a factory. A driver of PostgreSQL is told by its name:
 * {@code socketFactory=ntmfw.NTMSocketFactory}.
 */
public class NTMSocketFactory extends SocketFactory {
    /** A factory; all are alike. */
    public NTMSocketFactory() {}

    /**
     * The factory that {@link SocketFactory} asks for.
     *
     * @return a factory
     */
    public static SocketFactory getDefault() {
        return new NTMSocketFactory();
    }

    @Override
    public Socket createSocket() throws IOException {
        return new NTMSocket();
    }

    @Override
    public Socket createSocket(String host, int port) throws IOException {
        return new NTMSocket(host, port);
    }

    @Override
    public Socket createSocket(String host, int port, InetAddress localAddress, int localPort) throws IOException {
        return new NTMSocket(host, port, localAddress, localPort);
    }

    @Override
    public Socket createSocket(InetAddress address, int port) throws IOException {
        return new NTMSocket(address, port);
    }

    @Override
    public Socket createSocket(InetAddress address, int port, InetAddress localAddress, int localPort)
            throws IOException {
        return new NTMSocket(address, port, localAddress, localPort);
    }
}
