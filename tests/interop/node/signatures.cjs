// Signs or verifies one assertion, as told on standard input: {do, xml, key, cert, issuer}. Answers in JSON.
// xml-crypto signs and verifies; @node-saml/node-saml judges the assertion inside a SAML response.
const path = require("path");
const from = (name) => require(require.resolve(name, { paths: [path.resolve(process.env.MODULES)] }));

const EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

function sign({ xml, key, cert }) {
  const { SignedXml } = from("xml-crypto");
  const signed = new SignedXml({
    privateKey: key,
    publicCert: cert,
    signatureAlgorithm: "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
    canonicalizationAlgorithm: EXCLUSIVE,
  });
  signed.addReference({
    xpath: "/*[local-name(.)='Assertion']",
    transforms: [ENVELOPED, EXCLUSIVE],
    digestAlgorithm: "http://www.w3.org/2001/04/xmlenc#sha256",
  });
  const location = { reference: "/*/*[local-name(.)='Issuer']", action: "after" };
  signed.computeSignature(xml, { prefix: "ds", location });
  return { xml: signed.getSignedXml() };
}

function verify({ xml, cert }) {
  const { SignedXml } = from("xml-crypto");
  const found = xml.match(/<ds:Signature[\s>][\s\S]*<\/ds:Signature>/);
  const judged = new SignedXml({ publicCert: cert });
  judged.loadSignature(found[0]);
  try {
    return { holds: judged.checkSignature(xml), signed: judged.getSignedReferences().join("") };
  } catch (error) {
    return { holds: false, error: String(error) };
  }
}

async function judge({ xml, cert, issuer, now }) {
  const { SAML } = from("@node-saml/node-saml");
  const saml = new SAML({
    idpCert: cert, idpIssuer: issuer, issuer: "urn:carnet:dmp", audience: false, callbackUrl: "https://localhost/",
    wantAuthnResponseSigned: false, wantAssertionsSigned: true, validateInResponseTo: "never",
  });
  const response =
    '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_r" Version="2.0" IssueInstant="' + now +
    '"><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>' + xml +
    "</samlp:Response>";
  try {
    const { profile } = await saml.validatePostResponseAsync({ SAMLResponse: Buffer.from(response).toString("base64") });
    return { holds: true, name: profile.nameID };
  } catch (error) {
    return { holds: false, error: String(error) };
  }
}

async function main() {
  let text = "";
  for await (const part of process.stdin) text += part;
  const order = JSON.parse(text);
  console.log(JSON.stringify(await { sign, verify, judge }[order.do](order)));
}

main();
