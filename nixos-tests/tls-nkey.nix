{
  lib,
  nodes,
  pkgs,
}:
let
  # A private CA as people usually create it, without a keyUsage extension, and the hub's certificate. They are in the
  # store because they protect only this test.
  tls = pkgs.runCommand "tls" { nativeBuildInputs = [ pkgs.openssl ]; } ''
    mkdir $out && cd $out
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 \
      -subj "/CN=Private CA" -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=hub" -keyout hub.key -out hub.csr
    printf 'subjectAltName=DNS:hub\n' > extensions
    openssl x509 -req -in hub.csr -CA ca.pem -CAkey ca.key -days 36500 -extfile extensions -out hub.pem
  '';

  seeds = {
    right = "SUAFIFY3C5TPJJHYZYNQP2XZ4CWN4VZDTAQ5GF2OBT7APHXNPT2R2FKV4Y";
    foreign = "SUABBXKQWMXHS6TNNAGSQV3UD7ZB4XD5KP37LSK3ZYKBEIUJZK2D3DO65E";
  };
in
{
  constants = {
    NATS_OPTS = "--server tls://hub:4222 --tlsca ${tls}/ca.pem --nkey ${pkgs.writeText "right.nk" seeds.right}";
    SEEDS = seeds;
  };

  nodes = {
    hub = {
      imports = [ nodes.hub ];
      services.nats.settings = {
        tls = {
          cert_file = "${tls}/hub.pem";
          key_file = "${tls}/hub.key";
        };
        # The public key of the seed "right".
        authorization.users = [ { nkey = "UDREXPX4ANLVN7TXSNITYFHDPW4HZEYHGE243V5256OPQK6KV37UYAMB"; } ];
      };
    };

    server = {
      imports = [ nodes.server ];
      services.natsMatrix.nats = {
        servers = lib.mkForce [ "tls://hub:4222" ];
        caFile = "${tls}/ca.pem";
        nkeySeedFile = "/root/secrets/nats-nkey-seed";
      };
    };
  };
}
