import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import ntmfw.NTMDatagramSocket;
import ntmfw.NTMServerSocket;
import ntmfw.NTMSocket;
import ntmfw.NTMfw;

/** Both ends of an exchange, in Java; exchange.c says what it does. */
final class Exchange {
    private static final int MESSAGE = 16;
    private static final int TOLD = 50;
    private static final int LONGEST_WAIT = 100;

    private final Count streamed = new Count("tcp");
    private final Count datagrams = new Count("udp");
    private final Socket stream;
    private final DatagramSocket socket;
    private final List<Thread> hearing;
    private final Thread asking;
    private volatile boolean stopped;

    /** Something that a thread of its own does; what it fails with ends the program. */
    private interface Work {
        void run() throws Exception;
    }

    /** Messages of one protocol. */
    private static final class Count {
        private final String protocol;
        private int sent;
        private int answered;

        Count(String protocol) {
            this.protocol = protocol;
        }

        byte[] next() {
            return String.format("%" + MESSAGE + "d", ++sent).getBytes(StandardCharsets.US_ASCII);
        }

        void heard() {
            if (++answered % TOLD == 0) {
                System.out.println(protocol + " " + answered);
            }
        }

        @Override
        public String toString() {
            return protocol + " " + sent + " " + answered;
        }
    }

    /** Begins to ask. */
    private Exchange(String host, int port) throws IOException {
        stream = new NTMSocket(host, port);
        socket = new NTMDatagramSocket();
        socket.connect(InetSocketAddress.createUnresolved(host, port));
        socket.setSoTimeout(LONGEST_WAIT);
        hearing = List.of(start(this::hearStream), start(this::hearDatagrams));
        asking = start(this::ask);
    }

    private void stop() throws IOException, InterruptedException {
        stopped = true;
        asking.join();
        stream.shutdownOutput();
        for (Thread one : hearing) {
            one.join();
        }
        stream.close();
        socket.close();
        System.out.println("exchanged " + streamed + " " + datagrams);
    }

    private void ask() throws IOException, InterruptedException {
        while (!stopped) {
            stream.getOutputStream().write(streamed.next());
            socket.send(new DatagramPacket(datagrams.next(), MESSAGE));
            Thread.sleep(20);
        }
    }

    private void hearStream() throws IOException {
        for (byte[] message; (message = stream.getInputStream().readNBytes(MESSAGE)).length == MESSAGE;) {
            int number = Integer.parseInt(new String(message, StandardCharsets.US_ASCII).strip());
            if (number != streamed.answered + 1) {
                throw new IllegalStateException("an answer is not the one that follows");
            }
            streamed.heard();
        }
    }

    private void hearDatagrams() throws IOException {
        DatagramPacket packet = new DatagramPacket(new byte[MESSAGE], MESSAGE);
        while (!stopped) {
            try {
                socket.receive(packet);
                datagrams.heard();
            } catch (SocketTimeoutException nothingYet) {
                // Whether it is to stop is asked again.
            }
        }
    }

    private static void serve(int port) throws IOException {
        ServerSocket server = new NTMServerSocket(port);
        start(() -> {
            while (true) {
                Socket client = server.accept();
                start(() -> answer(client));
            }
        });
        DatagramSocket datagrams = new NTMDatagramSocket(port);
        start(() -> {
            DatagramPacket packet = new DatagramPacket(new byte[MESSAGE], MESSAGE);
            while (true) {
                datagrams.receive(packet);
                datagrams.send(packet);
            }
        });
    }

    private static void answer(Socket client) throws IOException {
        try (client) {
            client.getInputStream().transferTo(client.getOutputStream());
        }
    }

    private static Thread start(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Exception failure) {
                fail(failure);
            }
        });
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private static void fail(Exception failure) {
        failure.printStackTrace();
        Runtime.getRuntime().halt(1);
    }

    public static void main(String[] arguments) throws IOException, InterruptedException {
        int port = Integer.parseInt(arguments[0]);
        serve(port);
        System.out.println("ready");
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Exchange exchange = null;
        for (String line; (line = orders.readLine()) != null;) {
            if (line.startsWith("exchange ")) {
                exchange = new Exchange(line.substring("exchange ".length()), port);
            } else {
                exchange.stop();
            }
        }
        NTMfw.close();
    }
}
