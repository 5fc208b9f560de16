import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.xml.transform.OutputKeys;
import javax.xml.transform.Transformer;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import net.shibboleth.utilities.java.support.xml.BasicParserPool;
import org.opensaml.core.config.InitializationService;
import org.opensaml.core.xml.config.XMLObjectProviderRegistrySupport;
import org.opensaml.core.xml.util.XMLObjectSupport;
import org.opensaml.saml.saml2.core.Assertion;
import org.opensaml.saml.security.impl.SAMLSignatureProfileValidator;
import org.opensaml.security.x509.BasicX509Credential;
import org.opensaml.xmlsec.keyinfo.impl.X509KeyInfoGeneratorFactory;
import org.opensaml.xmlsec.signature.Signature;
import org.opensaml.xmlsec.signature.support.SignatureConstants;
import org.opensaml.xmlsec.signature.support.SignatureException;
import org.opensaml.xmlsec.signature.support.SignatureValidator;
import org.opensaml.xmlsec.signature.support.Signer;

/** sign IN KEY CERT OUT, or verify IN CERT: prints the NameID that the verified assertion carries, or "refused". */
public class Assertions {
    public static void main(String[] given) throws Exception {
        InitializationService.initialize();
        BasicParserPool pool = new BasicParserPool();
        pool.setNamespaceAware(true);
        pool.initialize();
        XMLObjectProviderRegistrySupport.setParserPool(pool);
        Assertion assertion;
        try (InputStream in = new ByteArrayInputStream(Files.readAllBytes(Path.of(given[1])))) {
            assertion = (Assertion) XMLObjectSupport.unmarshallFromInputStream(pool, in);
        }
        if (given[0].equals("sign")) {
            sign(assertion, key(given[2]), certificate(given[3]), Path.of(given[4]));
        } else {
            verify(assertion, certificate(given[2]));
        }
    }

    private static void sign(Assertion assertion, PrivateKey key, X509Certificate certificate, Path out) throws Exception {
        BasicX509Credential credential = new BasicX509Credential(certificate, key);
        X509KeyInfoGeneratorFactory info = new X509KeyInfoGeneratorFactory();
        info.setEmitEntityCertificate(true);
        Signature signature = (Signature) XMLObjectSupport.buildXMLObject(Signature.DEFAULT_ELEMENT_NAME);
        signature.setSigningCredential(credential);
        signature.setSignatureAlgorithm(key.getAlgorithm().equals("RSA")
            ? SignatureConstants.ALGO_ID_SIGNATURE_RSA_SHA256 : SignatureConstants.ALGO_ID_SIGNATURE_ECDSA_SHA256);
        signature.setCanonicalizationAlgorithm(SignatureConstants.ALGO_ID_C14N_EXCL_OMIT_COMMENTS);
        signature.setKeyInfo(info.newInstance().generate(credential));
        assertion.setSignature(signature);
        XMLObjectSupport.marshall(assertion);
        Signer.signObject(signature);
        Transformer writer = TransformerFactory.newInstance().newTransformer();
        writer.setOutputProperty(OutputKeys.OMIT_XML_DECLARATION, "yes");
        writer.transform(new DOMSource(assertion.getDOM()), new StreamResult(out.toFile()));
    }

    private static void verify(Assertion assertion, X509Certificate certificate) throws Exception {
        try {
            new SAMLSignatureProfileValidator().validate(assertion.getSignature());
            SignatureValidator.validate(assertion.getSignature(), new BasicX509Credential(certificate));
            System.out.println(assertion.getSubject().getNameID().getValue());
        } catch (SignatureException error) {
            System.out.println("refused");
        }
    }

    private static X509Certificate certificate(String file) throws Exception {
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }

    private static PrivateKey key(String file) throws Exception {
        String text = Files.readString(Path.of(file)).replaceAll("-----[A-Z ]+-----|\\s", "");
        PKCS8EncodedKeySpec spec = new PKCS8EncodedKeySpec(Base64.getDecoder().decode(text));
        try {
            return KeyFactory.getInstance("RSA").generatePrivate(spec);
        } catch (java.security.spec.InvalidKeySpecException error) {
            return KeyFactory.getInstance("EC").generatePrivate(spec);
        }
    }
}
