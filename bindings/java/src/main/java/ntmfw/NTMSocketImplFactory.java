package ntmfw;

import java.net.SocketImpl;
import java.net.SocketImplFactory;
import ntmfw.internal.StreamImpl;

/**
 * Has every {@link java.net.Socket} of a program reach nodes, for code that makes its sockets itself and takes no factory,
 * such as {@link java.net.HttpURLConnection}: {@code Socket.setSocketImplFactory(new NTMSocketImplFactory())}.
 *
 * <p>Sockets to other addresses stay the operating system's. Such code resolves names by Java's own means: names of nodes
 * have to be in the DNS, or the address has to be given in the name's place.
 */
public class NTMSocketImplFactory implements SocketImplFactory {
    /** A factory; all are alike. */
    public NTMSocketImplFactory() {}

    @Override
    public SocketImpl createSocketImpl() {
        return new StreamImpl();
    }
}
