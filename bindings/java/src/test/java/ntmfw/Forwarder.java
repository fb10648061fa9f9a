package ntmfw;

import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;

/** Gives nodes a service of this host: {@code Forwarder PORT-FOR-NODES PORT-OF-THE-HOST}. */
final class Forwarder {
    private Forwarder() {}

    public static void main(String[] arguments) throws IOException {
        NTMServerSocket listening = new NTMServerSocket(Integer.parseInt(arguments[0]));
        int service = Integer.parseInt(arguments[1]);
        Daemon.start(() -> {
            while (true) {
                Socket node = listening.accept();
                Socket host = new Socket(InetAddress.getByName("127.0.0.1"), service);
                Daemon.start(() -> copy(node, host));
                Daemon.start(() -> copy(host, node));
            }
        });
        System.out.println(Peer.READY);
        System.in.transferTo(OutputStream.nullOutputStream());
    }

    private static void copy(Socket from, Socket to) throws IOException {
        from.getInputStream().transferTo(to.getOutputStream());
        to.shutdownOutput();
    }
}
