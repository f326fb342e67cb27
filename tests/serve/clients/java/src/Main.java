// A client of Check with grpc-java; see ../../README.md for what it does and prints.

import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

public final class Main {
    private static final int WORKERS = 8;
    private static final long PAUSE = 5; // milliseconds of a worker, between calls
    private static final int[] CODES = {0, 7}; // OK, PERMISSION_DENIED
    private static final MethodDescriptor<byte[], byte[]> CHECK =
            MethodDescriptor.<byte[], byte[]>newBuilder()
                    .setType(MethodDescriptor.MethodType.UNARY)
                    .setFullMethodName("envoy.service.auth.v3.Authorization/Check")
                    .setRequestMarshaller(new Bytes())
                    .setResponseMarshaller(new Bytes())
                    .build();

    private final ManagedChannel channel;
    private final byte[][] requests;
    private final ScheduledExecutorService cancels = Executors.newSingleThreadScheduledExecutor();
    private final List<String> failed = new ArrayList<>();
    private int calls, wrong, cancelled, expired, compressed;
    private volatile boolean ending;

    private Main(String target, byte[][] requests) {
        int colon = target.lastIndexOf(':');
        this.requests = requests;
        this.channel = NettyChannelBuilder
                .forAddress(target.substring(0, colon), Integer.parseInt(target.substring(colon + 1)))
                .usePlaintext()
                .keepAliveTime(10, TimeUnit.SECONDS)
                .keepAliveTimeout(5, TimeUnit.SECONDS)
                .keepAliveWithoutCalls(true)
                .build();
    }

    public static void main(String[] arguments) throws InterruptedException {
        if (arguments.length != 3) {
            System.err.println("expected TARGET ALLOWED DENIED");
            System.exit(2);
        }
        HexFormat hex = HexFormat.of();
        Main main = new Main(arguments[0], new byte[][] {hex.parseHex(arguments[1]), hex.parseHex(arguments[2])});
        List<Thread> workers = new ArrayList<>();
        for (int worker = 0; worker < WORKERS; worker++) {
            int first = worker;
            workers.add(new Thread(() -> main.work(first)));
        }
        workers.forEach(Thread::start);
        sun.misc.Signal.handle(new sun.misc.Signal("TERM"), signal -> main.ending = true);
        for (Thread worker : workers) {
            worker.join();
        }
        System.out.println(main.report());
        System.exit(0);
    }

    private void work(int first) {
        for (int number = first; !ending; number += WORKERS) {
            ask(number);
            try {
                Thread.sleep(PAUSE);
            } catch (InterruptedException interrupted) {
                return;
            }
        }
    }

    private void ask(int number) {
        boolean hurried = number % 23 == 0;
        boolean packed = !hurried && number % 11 == 0;
        CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(hurried ? 1 : 10_000, TimeUnit.MILLISECONDS);
        ClientCall<byte[], byte[]> call = channel.newCall(CHECK, packed ? options.withCompression("gzip") : options);
        Future<byte[]> answer = ClientCalls.futureUnaryCall(call, requests[number % 2]);
        if (number % 17 == 0) {
            long micros = (number % 3) * 200L;
            cancels.schedule(() -> call.cancel("as it was meant", null), micros, TimeUnit.MICROSECONDS);
        }
        try {
            note(number, code(answer.get()), Status.OK, packed);
        } catch (ExecutionException error) {
            note(number, -1, Status.fromThrowable(error.getCause()), packed);
        } catch (InterruptedException error) {
            note(number, -1, Status.fromThrowable(error), packed);
        }
    }

    private synchronized void note(int number, int code, Status status, boolean packed) {
        calls++;
        if (status.getCode() == Status.Code.CANCELLED && number % 17 == 0) {
            cancelled++;
        } else if (status.getCode() == Status.Code.DEADLINE_EXCEEDED && number % 23 == 0) {
            expired++;
        } else if (!status.isOk()) {
            failed.add(status.getCode() + ": " + status.getDescription());
        } else if (code != CODES[number % 2]) {
            wrong++;
        } else if (packed) {
            compressed++;
        }
        if (calls % 200 == 0) {
            System.out.println("calls " + calls);
        }
    }

    private String report() {
        String all = failed.stream()
                .map(text -> '"' + text.replaceAll("[\\\\\"\\p{Cntrl}]", " ") + '"')
                .collect(Collectors.joining(", ", "[", "]"));
        return String.format(
                "{\"calls\": %d, \"wrong\": %d, \"failed\": %s, \"cancelled\": %d, \"expired\": %d, \"compressed\": %d}",
                calls, wrong, all, cancelled, expired, compressed);
    }

    // The code of the status of a CheckResponse: field 1 of field 1; a field that is not there is 0.
    private static int code(byte[] answer) {
        ByteBuffer fields = ByteBuffer.wrap(answer);
        while (fields.hasRemaining()) {
            long tag = varint(fields);
            if ((tag & 7) != 2) {
                throw new IllegalStateException("field of an unexpected type: " + tag);
            }
            int end = (int) varint(fields) + fields.position();
            if (tag >> 3 == 1) {
                return fields.position() < end && varint(fields) == 8 ? (int) varint(fields) : 0;
            }
            fields.position(end);
        }
        return 0;
    }

    private static long varint(ByteBuffer fields) {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = fields.get();
            value |= (long) (next & 0x7f) << shift;
            if (next >= 0) {
                return value;
            }
        }
    }

    private static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
        @Override
        public InputStream stream(byte[] value) {
            return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }
}
