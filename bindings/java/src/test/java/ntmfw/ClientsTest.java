package ntmfw;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import fi.iki.elonen.NanoHTTPD;
import java.io.IOException;
import java.net.Socket;
import java.net.URL;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** What was written for {@code java.net}, as it is. */
@ExtendWith(Neighbour.class)
@Timeout(Neighbour.PATIENCE_SECONDS)
@SuppressWarnings("try")
class ClientsTest {
    private static final String PAGE = "a page for nodes";

    @TempDir
    static Path directory;

    @Test
    void tlsRunsOverIt() throws Exception {
        SSLContext tls = Certificate.of("localhost", directory);
        try (NTMServerSocket listening = new NTMServerSocket(0)) {
            Background<Void> serving = Background.start(() -> {
                try (Socket accepted = listening.accept();
                        SSLSocket secured = (SSLSocket) tls.getSocketFactory().createSocket(accepted, null, true)) {
                    secured.getInputStream().transferTo(secured.getOutputStream());
                }
                return null;
            });
            Socket socket = new NTMSocket(NTMfw.localName(), listening.getLocalPort());
            try (SSLSocket secured =
                    (SSLSocket) tls.getSocketFactory().createSocket(socket, "localhost", socket.getPort(), true)) {
                byte[] sent = new byte[1 << 20];
                Background<Void> writing = Background.start(() -> {
                    secured.getOutputStream().write(sent);
                    return null;
                });
                assertEquals(sent.length, secured.getInputStream().readNBytes(sent.length).length);
                assertEquals("localhost", secured.getSession().getPeerPrincipal().getName().substring(3));
                writing.result();
                secured.shutdownOutput();
            }
            serving.result();
        }
    }

    @Test
    void httpsOfTheJdkTakesAFactory() throws Exception {
        SSLContext tls = Certificate.of(NTMfw.localName(), directory);
        Page page = new Page();
        page.makeSecure(tls.getServerSocketFactory(), null);
        page.setServerSocketFactory(() -> new LayeredServerSocket(tls));
        page.start();
        try {
            var connection = (HttpsURLConnection) page.url("https").openConnection();
            connection.setSSLSocketFactory(new LayeredSocketFactory(tls.getSocketFactory()));
            assertEquals(PAGE, new String(connection.getInputStream().readAllBytes()));
        } finally {
            page.stop();
        }
    }

    @Test
    void aServerThatTakesAFactoryServesAndTheJdksHttpClientGets() throws Exception {
        Page page = new Page();
        page.setServerSocketFactory(NTMServerSocket::new);
        page.start();
        try {
            ProcessBuilder builder = Neighbour.java("c", Fetch.class, page.url("http").toString());
            assertEquals(PAGE, Attempt.run(builder).strip());
        } finally {
            page.stop();
        }
    }

    @Test
    void jdbcTalksToARealDatabase() throws Exception {
        try (Postgres postgres = new Postgres(directory.resolve("database"));
                Neighbour node = Neighbour.start("d", Forwarder.class, "5432", Integer.toString(postgres.port()))) {
            Properties properties = new Properties();
            properties.setProperty("user", "postgres");
            properties.setProperty("socketFactory", NTMSocketFactory.class.getName());
            String url = "jdbc:postgresql://d.ntm.example/postgres";
            try (Connection connection = DriverManager.getConnection(url, properties);
                    Statement statement = connection.createStatement()) {
                assertRowsArrive(connection, statement);
            }
        }
    }

    private static void assertRowsArrive(Connection connection, Statement statement) throws SQLException {
        statement.execute("create table notes (id int primary key, text text)");
        try (PreparedStatement insert = connection.prepareStatement("insert into notes values (?, repeat('x', ?))")) {
            for (int i = 1; i <= 100; i++) {
                insert.setInt(1, i);
                insert.setInt(2, 1_000 * i);
                insert.addBatch();
            }
            assertEquals(100, insert.executeBatch().length);
        }
        try (ResultSet rows = statement.executeQuery("select text from notes order by id")) {
            for (int i = 1; i <= 100; i++) {
                assertTrue(rows.next());
                assertEquals(1_000 * i, rows.getString(1).length());
            }
        }
    }

    /** One page, whatever is asked for. */
    private static final class Page extends NanoHTTPD {
        Page() {
            super(0);
        }

        @Override
        public Response serve(IHTTPSession session) {
            return newFixedLengthResponse(PAGE);
        }

        URL url(String scheme) throws IOException {
            return new URL(scheme, NTMfw.localName(), getListeningPort(), "/");
        }
    }
}
