// What OpenAI's Node client makes of Footnote, as one JSON object; tests/acceptance/test_openai_clients.py looks at it.
// Usage: node openai-client.mjs BASE_URL API_KEY QUESTION
import OpenAI from "openai";

const [baseURL, apiKey, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const asked = { model: "footnote", messages: [{ role: "user", content: question }] };

const failure = async (attempt) => {
  try {
    await attempt();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, param: error.param, type: error.type };
  }
};

const completion = await client.chat.completions.create(asked);

const chunks = [];
for await (const chunk of await client.chat.completions.create({
  ...asked,
  stream: true,
  stream_options: { include_usage: true },
})) {
  chunks.push(chunk);
}

const runner = client.chat.completions.stream(asked);
let streamed = "";
runner.on("content", (delta) => (streamed += delta));
const final = await runner.finalChatCompletion();

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const stranger = new OpenAI({ baseURL, apiKey: "fn_wrong", maxRetries: 0 });

console.log(
  JSON.stringify({
    completion,
    chunks,
    streamed,
    final: final.choices[0].message,
    models,
    model: (await client.models.retrieve("footnote")).id,
    // The client asks for base64 and unpacks it, unless told otherwise.
    embedding: (await client.embeddings.create({ model: "minilm", input: question })).data[0].embedding,
    embeddingAsFloats: (
      await client.embeddings.create({ model: "minilm", input: [question], encoding_format: "float" })
    ).data[0].embedding,
    failures: {
      authentication: await failure(() => stranger.models.list()),
      notFound: await failure(() => client.chat.completions.create({ ...asked, model: "gpt-4o" })),
      badRequest: await failure(() => client.chat.completions.create({ ...asked, n: 2 })),
    },
  }),
);
