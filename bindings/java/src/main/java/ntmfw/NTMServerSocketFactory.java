package ntmfw;

import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import javax.net.ServerSocketFactory;

/** Makes {@link NTMServerSocket}s, for servers that take a factory. */
public class NTMServerSocketFactory extends ServerSocketFactory {
    /** A factory; all are alike. */
    public NTMServerSocketFactory() {}

    /**
     * The factory that {@link ServerSocketFactory} asks for.
     *
     * @return a factory
     */
    public static ServerSocketFactory getDefault() {
        return new NTMServerSocketFactory();
    }

    @Override
    public ServerSocket createServerSocket() throws IOException {
        return new NTMServerSocket();
    }

    @Override
    public ServerSocket createServerSocket(int port) throws IOException {
        return new NTMServerSocket(port);
    }

    @Override
    public ServerSocket createServerSocket(int port, int backlog) throws IOException {
        return new NTMServerSocket(port, backlog);
    }

    @Override
    public ServerSocket createServerSocket(int port, int backlog, InetAddress address) throws IOException {
        return new NTMServerSocket(port, backlog, address);
    }
}
