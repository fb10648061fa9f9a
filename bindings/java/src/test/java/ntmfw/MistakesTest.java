package ntmfw;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.OutputStream;
import java.net.BindException;
import java.net.ConnectException;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** What goes wrong is told as Java tells it, with what to do about it. */
@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
@SuppressWarnings("try")
class MistakesTest {
    private static final int ELF_MACHINE = 18;

    @TempDir
    Path directory;

    @Test
    void aNameThatNobodyHas() {
        Exception failure =
            assertThrows(UnknownHostException.class, () -> new NTMSocket("nobody.ntm.example", Peer.ECHO));
        assertTrue(failure.getMessage().startsWith("nobody.ntm.example: "), failure.getMessage());
    }

    @Test
    void aPortWhereNobodyListens() {
        Exception failure = assertThrows(ConnectException.class, () -> new NTMSocket(Neighbour.NAME, 4_444));
        assertTrue(failure.getMessage().contains(Neighbour.NAME), failure.getMessage());
    }

    @Test
    void aPortThatIsTaken() throws IOException {
        try (ServerSocket listening = new NTMServerSocket(0)) {
            assertThrows(BindException.class, () -> new NTMServerSocket(listening.getLocalPort()));
        }
    }

    @Test
    void aSocketThatIsClosed() throws IOException {
        Socket socket = new NTMSocket(Neighbour.NAME, Peer.ECHO);
        OutputStream output = socket.getOutputStream();
        socket.close();
        socket.close();
        assertThrows(SocketException.class, () -> output.write(1));
        assertThrows(SocketException.class, socket::getInputStream);
        assertThrows(SocketException.class, () -> socket.setTcpNoDelay(true));
        ServerSocket listening = new NTMServerSocket(0);
        listening.close();
        assertThrows(SocketException.class, listening::accept);
    }

    @Test
    void aSocketThatIsNotConnected() throws IOException {
        try (NTMSocket socket = new NTMSocket()) {
            assertThrows(SocketException.class, socket::getInputStream);
            assertThrows(SocketException.class, socket::getPathInfo);
            assertThrows(SocketException.class, () -> socket.sendUrgentData(1));
        }
        try (NTMServerSocket listening = new NTMServerSocket()) {
            assertThrows(SocketException.class, listening::accept);
        }
    }

    @Test
    void aResetIsToldAtEveryRead() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.RESET)) {
            socket.getOutputStream().write(1);
            for (int i = 0; i < 2; i++) {
                Exception failure = assertThrows(SocketException.class, () -> socket.getInputStream().read());
                assertEquals("Connection reset", failure.getMessage());
            }
        }
    }

    @Test
    void writingToAPeerThatIsGone() throws IOException {
        try (Socket socket = new NTMSocket(Neighbour.NAME, Peer.WHO)) {
            socket.getInputStream().readAllBytes();
            assertThrows(SocketException.class, () -> {
                while (true) {
                    socket.getOutputStream().write(new byte[1_000]);
                }
            });
        }
    }

    @Test
    void aConfigurationThatIsMissing() throws Exception {
        String missing = directory.resolve("config.toml").toString();
        for (String what : new String[] {"init", "connect"}) {
            ProcessBuilder builder = Neighbour.java("d", Attempt.class, what);
            builder.environment().put("NTMFW_CONFIG", missing);
            String told = Attempt.run(builder);
            String expected = what.equals("init") ? "java.io.IOException: " : "java.net.UnknownHostException: ";
            assertTrue(told.startsWith(expected), told);
            assertTrue(told.contains(missing), told);
        }
    }

    @Test
    void aNodeThatRunsAlready() throws Exception {
        String told = Attempt.run(Neighbour.java("a", Attempt.class, "init"));
        assertTrue(told.contains("another program runs as this node"), told);
    }

    @Test
    void aNativeLibraryThatIsMissing() throws Exception {
        String told = Attempt.run(withLibraries(directory));
        assertTrue(told.startsWith("java.lang.UnsatisfiedLinkError: "), told);
        assertTrue(told.contains("-Dntmfw.library.path=DIRECTORY"), told);
        assertTrue(told.contains("there is no " + directory), told);
    }

    @Test
    void aNativeLibraryOfAnotherMachine() throws Exception {
        for (String name : new String[] {"libntmfw.so", "libntmfw_java.so"}) {
            byte[] header = "\177ELF\2\1\1".getBytes(StandardCharsets.ISO_8859_1);
            byte[] library = Arrays.copyOf(header, 64);
            library[ELF_MACHINE] = (byte) 243;
            Files.write(directory.resolve(name), library);
        }
        String told = Attempt.run(withLibraries(directory));
        assertTrue(told.startsWith("java.lang.UnsatisfiedLinkError: "), told);
        assertTrue(told.contains("is for riscv64"), told);
    }

    @Test
    void aNativeLibraryThatIsNone() throws Exception {
        Files.writeString(directory.resolve("libntmfw.so"), "no library");
        Files.writeString(directory.resolve("libntmfw_java.so"), "no library");
        String told = Attempt.run(withLibraries(directory));
        assertTrue(told.contains("java.lang.UnsatisfiedLinkError: the native library of NTMfw cannot be loaded"), told);
    }

    @Test
    void noAddress() throws IOException {
        try (NTMSocket socket = new NTMSocket()) {
            assertThrows(IllegalArgumentException.class, () -> socket.connect(null));
        }
    }

    private static ProcessBuilder withLibraries(Path directory) {
        ProcessBuilder builder = Neighbour.java("d", Attempt.class, "connect");
        builder.command().replaceAll(argument -> argument.startsWith("-Dntmfw.library.path=")
            ? "-Dntmfw.library.path=" + directory : argument);
        return builder;
    }
}
