// Drives the services through the npm package "soap": its own reading of our WSDL, its own envelopes and MTOM parts.
// A step without operation lists the operations of its service.
// Reads one JSON object on standard input, writes one per call on standard output.
//   { ca, cert, key, steps: [{ wsdl, operation, security, arguments, attachments: [{contentId, mimetype, base64}] }] }
// MODULES in the environment is the folder the packages were installed into.
"use strict";
const { createRequire } = require("node:module");
const fs = require("node:fs");
const https = require("node:https");
const path = require("node:path");
const { randomUUID } = require("node:crypto");

const load = createRequire(path.join(process.env.MODULES, "package.json"));
const soap = load("soap");
const axios = createRequire(load.resolve("soap"))("axios");

const WSA = "http://www.w3.org/2005/08/addressing";

async function main() {
  const { ca, cert, key, steps } = JSON.parse(fs.readFileSync(0, "utf8"));
  const agent = new https.Agent({ ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
  const request = axios.create({ httpsAgent: agent, proxy: false });
  const clients = {};
  for (const step of steps) {
    const client = (clients[step.wsdl] ??= await soap.createClientAsync(step.wsdl, {
      forceSoap12Headers: true, parseResponseAttachments: true, encoding: "latin1", request,
    }));
    process.stdout.write(JSON.stringify(await call(client, step)) + "\n");
  }
}

async function call(client, step) {
  const [service] = Object.values(client.wsdl.definitions.services);
  const ports = Object.entries(service.ports);
  if (!step.operation) return { operations: ports.flatMap(([, port]) => Object.keys(port.binding.methods)) };
  const [portName, name] = ports
    .map(([port, { binding }]) => [port, Object.keys(binding.methods).find((one) => one.endsWith(`_${step.operation}`))])
    .find(([, one]) => one);
  const operation = service.ports[portName].binding.methods[name];
  const serviceName = Object.keys(client.wsdl.definitions.services)[0];
  client.clearSoapHeaders();
  client.addSoapHeader(
    `<wsa:Action xmlns:wsa="${WSA}">${operation.soapAction}</wsa:Action>` +
      `<wsa:MessageID xmlns:wsa="${WSA}">urn:uuid:${randomUUID()}</wsa:MessageID>${step.security}`,
  );
  const attachments = (step.attachments ?? []).map((one) => ({
    name: one.contentId, contentId: one.contentId, mimetype: one.mimetype, body: Buffer.from(one.base64, "base64"),
  }));
  const options = step.mtom ? { attachments, forceMTOM: true } : {};
  try {
    const result = await new Promise((resolve, reject) =>
      client[serviceName][portName][name](step.arguments, (error, answer) => (error ? reject(error) : resolve(answer)), options),
    );
    const parts = step.mtom ? client.lastResponseAttachments?.parts ?? [] : [];
    return {
      result,
      parts: parts.map((part) => ({
        contentId: part.headers["content-id"], base64: Buffer.from(part.body).toString("base64"),
      })),
    };
  } catch (error) {
    return { fault: error.root?.Envelope?.Body?.Fault ?? String(error), status: error.response?.status };
  }
}

main().catch((error) => {
  process.stderr.write(String(error?.stack ?? error) + "\n");
  process.exitCode = 1;
});
