package ntmfw;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.DatagramPacket;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.locks.LockSupport;

/** What runs on the other node: one service a port, until its input ends. */
public final class Peer {
    /** Sends everything back, over datagrams as well. */
    static final int ECHO = 7;
    /** Reads to the end and then says how many bytes there were. */
    static final int COUNT = 9;
    /** Says who called and ends. */
    static final int WHO = 11;
    /** Resets after the first byte. */
    static final int RESET = 12;
    /** Accepts, and neither reads nor writes nor closes. */
    static final int SILENT = 13;
    /** Reads a port, calls back there, and sends a greeting. */
    static final int CALL_BACK = 14;
    /** Reads a number and sends so many bytes. */
    static final int SOURCE = 19;

    static final String READY = "ready";
    static final String GREETING = "it is me";

    private Peer() {}

    /** A service on one connection. */
    private interface Service {
        void serve(Socket connection) throws IOException;
    }

    public static void main(String[] arguments) throws IOException {
        serve(ECHO, connection -> connection.getInputStream().transferTo(connection.getOutputStream()));
        serve(COUNT, connection -> {
            long count = connection.getInputStream().transferTo(OutputStream.nullOutputStream());
            new DataOutputStream(connection.getOutputStream()).writeLong(count);
        });
        serve(WHO, connection -> connection.getOutputStream().write(
            (connection.getInetAddress().getHostName() + ":" + connection.getPort()).getBytes(StandardCharsets.UTF_8)));
        serve(RESET, connection -> {
            connection.getInputStream().read();
            connection.setSoLinger(true, 0);
        });
        serve(SILENT, connection -> {
            while (true) {
                LockSupport.park(connection);
            }
        });
        serve(CALL_BACK, connection -> {
            int port = new DataInputStream(connection.getInputStream()).readInt();
            try (Socket back = new NTMSocket(connection.getInetAddress(), port)) {
                back.getOutputStream().write(GREETING.getBytes(StandardCharsets.UTF_8));
            }
        });
        serve(SOURCE, connection -> {
            long left = new DataInputStream(connection.getInputStream()).readLong();
            byte[] block = new byte[64 << 10];
            for (; left > 0; left -= block.length) {
                connection.getOutputStream().write(block, 0, (int) Math.min(left, block.length));
            }
        });
        echoDatagrams();
        System.out.println(READY);
        System.in.transferTo(OutputStream.nullOutputStream());
    }

    private static void serve(int port, Service service) throws IOException {
        ServerSocket listening = new NTMServerSocket(port, 1_024);
        Daemon.start(() -> {
            while (true) {
                Socket connection = listening.accept();
                Daemon.start(() -> {
                    try (connection) {
                        service.serve(connection);
                    }
                });
            }
        });
    }

    private static void echoDatagrams() throws IOException {
        NTMDatagramSocket socket = new NTMDatagramSocket(ECHO);
        Daemon.start(() -> {
            DatagramPacket packet = new DatagramPacket(new byte[64 << 10], 64 << 10);
            while (true) {
                socket.receive(packet);
                socket.send(packet);
            }
        });
    }
}
