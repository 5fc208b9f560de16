// A XAdES implementation of another house as a judge and as a signer, for tests/interop/test_foreign_signatures.py.
//
//   verify TRUST SIGNATURE.xml URI=FILE...                one JSON object: what it thinks of the signature;
//                                                         TRUST is a folder with ca.pem and *.crl
//   sign   CARD.p12 MANIFEST.xml OUT.xml  (PIN on input)  a XAdES baseline B signature over that manifest

import eu.europa.esig.dss.enumerations.DigestAlgorithm;
import eu.europa.esig.dss.enumerations.SignatureLevel;
import eu.europa.esig.dss.enumerations.SignaturePackaging;
import eu.europa.esig.dss.model.DSSDocument;
import eu.europa.esig.dss.model.FileDocument;
import eu.europa.esig.dss.model.x509.CertificateToken;
import eu.europa.esig.dss.spi.DSSUtils;
import eu.europa.esig.dss.spi.validation.CommonCertificateVerifier;
import eu.europa.esig.dss.spi.x509.revocation.crl.ExternalResourcesCRLSource;
import eu.europa.esig.dss.spi.x509.CommonTrustedCertificateSource;
import eu.europa.esig.dss.token.Pkcs12SignatureToken;
import eu.europa.esig.dss.validation.SignedDocumentValidator;
import eu.europa.esig.dss.xades.XAdESSignatureParameters;
import eu.europa.esig.dss.xades.signature.XAdESService;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;

public class Dss {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("verify")) {
            verify(args);
        } else {
            sign(args[1], args[2], args[3], new String(System.in.readAllBytes(), StandardCharsets.UTF_8).trim());
        }
    }

    private static void verify(String[] args) throws Exception {
        CommonTrustedCertificateSource trusted = new CommonTrustedCertificateSource();
        try (FileInputStream pem = new FileInputStream(args[1] + "/ca.pem")) {
            for (var each : CertificateFactory.getInstance("X.509").generateCertificates(pem)) {
                trusted.addCertificate(new CertificateToken((X509Certificate) each));
            }
        }
        CommonCertificateVerifier verifier = new CommonCertificateVerifier();
        verifier.setTrustedCertSources(trusted);
        List<String> lists = new ArrayList<>();
        for (File file : new File(args[1]).listFiles((folder, name) -> name.endsWith(".crl"))) {
            lists.add(file.getPath());
        }
        verifier.setCrlSource(new ExternalResourcesCRLSource(lists.stream().map(Dss::open).toArray(InputStream[]::new)));
        SignedDocumentValidator validator = SignedDocumentValidator.fromDocument(new FileDocument(args[2]));
        validator.setCertificateVerifier(verifier);
        List<DSSDocument> documents = new ArrayList<>();
        for (int i = 3; i < args.length; i++) {
            int cut = args[i].indexOf('=');
            FileDocument document = new FileDocument(args[i].substring(cut + 1));
            document.setName(args[i].substring(0, cut));
            documents.add(document);
        }
        validator.setDetachedContents(documents);
        var reports = validator.validateDocument();
        var data = reports.getDiagnosticData();
        var found = data.getSignatureById(data.getFirstSignatureId());
        StringBuilder out = new StringBuilder("{");
        out.append("\"indication\":\"").append(reports.getSimpleReport().getIndication(found.getId())).append("\"");
        out.append(",\"sub\":\"").append(reports.getSimpleReport().getSubIndication(found.getId())).append("\"");
        out.append(",\"intact\":").append(found.isSignatureIntact());
        out.append(",\"valid\":").append(found.isSignatureValid());
        out.append(",\"format\":\"").append(found.getSignatureFormat()).append("\"");
        out.append(",\"certificate\":").append(found.getSigningCertificate() != null
                && found.isSigningCertificateIdentified());
        out.append(",\"trusted\":").append(!found.getCertificateChain().isEmpty() && found.isTrustedChain());
        out.append(",\"references\":[");
        boolean first = true;
        for (var each : found.getDigestMatchers()) {
            out.append(first ? "" : ",").append("{\"type\":\"").append(each.getType()).append("\",\"uri\":\"")
               .append(each.getUri()).append("\",\"found\":").append(each.isDataFound()).append(",\"intact\":")
               .append(each.isDataIntact()).append("}");
            first = false;
        }
        System.out.println(out.append("]}"));
    }

    private static InputStream open(String path) {
        try {
            return new FileInputStream(path);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static void sign(String card, String manifest, String out, String pin) throws Exception {
        KeyStore.PasswordProtection password = new KeyStore.PasswordProtection(pin.toCharArray());
        try (Pkcs12SignatureToken token = new Pkcs12SignatureToken(card, password)) {
            var key = token.getKeys().get(0);
            XAdESSignatureParameters parameters = new XAdESSignatureParameters();
            parameters.setSignatureLevel(SignatureLevel.XAdES_BASELINE_B);
            parameters.setSignaturePackaging(SignaturePackaging.ENVELOPING);
            parameters.setManifestSignature(true);
            parameters.setDigestAlgorithm(DigestAlgorithm.SHA256);
            parameters.setSigningCertificate(key.getCertificate());
            parameters.setCertificateChain(key.getCertificateChain());
            DSSDocument document = new FileDocument(manifest);
            XAdESService service = new XAdESService(new CommonCertificateVerifier());
            var data = service.getDataToSign(document, parameters);
            var value = token.sign(data, parameters.getDigestAlgorithm(), key);
            try (FileOutputStream stream = new FileOutputStream(out)) {
                service.signDocument(document, parameters, value).writeTo(stream);
            }
        }
    }
}
