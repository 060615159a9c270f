import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** A task that tells its groom that it lives, greets, and ends. */
public class Hello {
    private static final HttpClient HTTP = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .build();

    public static void main(String[] args) throws IOException, InterruptedException {
        ping(0.0);
        System.out.printf("hello from task %s of %s on the JVM, version %s%n",
                System.getenv("GROOM_INDEX"), System.getenv("GROOM_TASKS"), Runtime.version());
        ping(1.0);
    }

    /** Tells the task report server how far the task is, with the token that belongs to this attempt. */
    private static void ping(double progress) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + System.getenv("GROOM_REPORT") + "/v1/ping"))
                .header("Authorization", "Bearer " + System.getenv("GROOM_TOKEN"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString("{\"version\": 1, \"step\": 0, \"progress\": " + progress + "}"))
                .build();
        HttpResponse<String> response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() != 204) {
            throw new IOException("ping: " + response.statusCode() + " " + response.body());
        }
    }
}
