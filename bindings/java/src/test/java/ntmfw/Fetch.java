package ntmfw;

import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.Socket;
import java.net.URL;

/** A program that gets a page with the JDK's own client, all of whose sockets reach nodes. */
final class Fetch {
    private Fetch() {}

    @SuppressWarnings("deprecation")
    public static void main(String[] arguments) throws IOException {
        Socket.setSocketImplFactory(new NTMSocketImplFactory());
        var connection = (HttpURLConnection) new URL(arguments[0]).openConnection();
        connection.getInputStream().transferTo(System.out);
    }
}
