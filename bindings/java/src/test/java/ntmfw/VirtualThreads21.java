package ntmfw;

import java.io.InputStream;
import java.lang.reflect.Method;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Many virtual threads that wait in sockets at once, on one carrier: run by Java 21, compiled for 17. */
final class VirtualThreads21 {
    private static final int THREADS = 200;
    private static final int SOON = 50;

    private VirtualThreads21() {}

    public static void main(String[] arguments) throws Exception {
        Method newExecutor = Executors.class.getMethod("newVirtualThreadPerTaskExecutor");
        var executor = (ExecutorService) newExecutor.invoke(null);
        List<Socket> accepted = new ArrayList<>();
        try (NTMServerSocket listening = new NTMServerSocket(0)) {
            List<Future<Integer>> readers = new ArrayList<>();
            for (int i = 0; i < THREADS; i++) {
                readers.add(executor.submit(() -> {
                    try (Socket socket = new NTMSocket(NTMfw.localName(), listening.getLocalPort())) {
                        return socket.getInputStream().read();
                    }
                }));
            }
            // With pinned carriers the first reader would leave none for the second, and accepting would never end.
            for (int i = 0; i < THREADS; i++) {
                accepted.add(executor.submit(listening::accept).get());
            }
            for (int i = 0; i < THREADS; i++) {
                accepted.get(i).getOutputStream().write(1);
            }
            int sum = 0;
            for (Future<Integer> reader : readers) {
                sum += reader.get();
            }
            System.out.println(sum + " readers, " + executor.submit(() -> timedOut(accepted.get(0))).get());
        }
        System.exit(0);
    }

    private static String timedOut(Socket socket) throws Exception {
        socket.setSoTimeout(SOON);
        InputStream input = socket.getInputStream();
        int end = input.read();
        try (NTMServerSocket listening = new NTMServerSocket(0)) {
            listening.setSoTimeout(SOON);
            listening.accept();
            return "no time-out";
        } catch (SocketTimeoutException expected) {
            return "end " + end + ", " + expected.getMessage();
        }
    }
}
