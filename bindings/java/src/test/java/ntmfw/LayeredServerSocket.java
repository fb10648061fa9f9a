package ntmfw;

import java.io.IOException;
import java.net.Socket;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;

/** Accepts nodes' connections and puts TLS on them. */
final class LayeredServerSocket extends NTMServerSocket {
    private final SSLContext tls;

    LayeredServerSocket(SSLContext tls) throws IOException {
        this.tls = tls;
    }

    @Override
    public Socket accept() throws IOException {
        SSLSocket secured = (SSLSocket) tls.getSocketFactory().createSocket(super.accept(), null, true);
        secured.setUseClientMode(false);
        return secured;
    }
}
