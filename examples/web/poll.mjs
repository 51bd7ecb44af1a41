// Start an import over HTTP and poll it until it ends. Runs in Node.js, and in a web page as a module
// (`processor serve --allow-origin https://shop.example` lets pages of that origin do so).
// usage: node examples/web/poll.mjs [URL of the API]

export async function importFile(api, source, told = () => {}) {
  const runs = `${api}/api/v1/namespaces/default/workflows/import_file/runs`;
  const started = await fetch(runs, {
    method: "POST",
    // The same key again starts nothing again, and has the same answer.
    headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
    body: JSON.stringify({ arguments: [source] }),
  });
  if (!started.ok) throw new Error((await started.json()).detail);
  const place = new URL(started.headers.get("Location"));
  told(`${started.status}, and it will be at ${place.pathname}`);
  place.searchParams.set("wait", 5);
  for (;;) {
    // Each request waits up to five seconds: 202 is "not yet", 200 is the result.
    const answer = await fetch(place);
    const body = await answer.json();
    if (answer.status === 200) return body.result;
    if (answer.status !== 202) throw new Error(body.detail);
  }
}

if (typeof process !== "undefined") {
  const api = process.argv[2] ?? "http://127.0.0.1:8233";
  console.log(await importFile(api, "customers.csv", console.log));
}
