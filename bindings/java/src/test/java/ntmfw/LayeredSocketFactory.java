package ntmfw;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import javax.net.ssl.SSLSocketFactory;

/** TLS over connections to nodes, for {@code HttpsURLConnection.setSSLSocketFactory}. */
final class LayeredSocketFactory extends SSLSocketFactory {
    private final SSLSocketFactory tls;

    LayeredSocketFactory(SSLSocketFactory tls) {
        this.tls = tls;
    }

    /** The connection below: what asks for it layers TLS on it once it is connected. */
    @Override
    public Socket createSocket() throws IOException {
        return new NTMSocket();
    }

    @Override
    public Socket createSocket(Socket below, String host, int port, boolean autoClose) throws IOException {
        return tls.createSocket(below, host, port, autoClose);
    }

    @Override
    public Socket createSocket(String host, int port) throws IOException {
        return createSocket(new NTMSocket(host, port), host, port, true);
    }

    @Override
    public Socket createSocket(String host, int port, InetAddress localAddress, int localPort) throws IOException {
        return createSocket(new NTMSocket(host, port, localAddress, localPort), host, port, true);
    }

    @Override
    public Socket createSocket(InetAddress address, int port) throws IOException {
        return createSocket(new NTMSocket(address, port), address.getHostName(), port, true);
    }

    @Override
    public Socket createSocket(InetAddress address, int port, InetAddress localAddress, int localPort)
            throws IOException {
        return createSocket(new NTMSocket(address, port, localAddress, localPort), address.getHostName(), port, true);
    }

    @Override
    public String[] getDefaultCipherSuites() {
        return tls.getDefaultCipherSuites();
    }

    @Override
    public String[] getSupportedCipherSuites() {
        return tls.getSupportedCipherSuites();
    }
}
