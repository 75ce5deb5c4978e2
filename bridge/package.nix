# The bridge as a package, and the checks of the workspace, built with crane.
{ pkgs, craneLib }:
let
  inherit (pkgs) lib;

  root = ../.;
  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../clippy.toml
      ../deny.toml
      ../rustfmt.toml
      ../LICENSE-APACHE
      ../LICENSE-MIT
      ./Cargo.toml
      ./examples
      ./monitoring
      ./schema
      ./shapes
      ./src
      ./tests
      ../fuzz/corpus
      ../fuzz/src
      ../docs/src/reference/payloads-of-others.md
      ../manual
      ../nixos-module/debian/etc
      ../testbed/Cargo.toml
      ../testbed/clients
      ../testbed/images
      ../testbed/requirements
      ../testbed/src
      ../testbed/tests
    ];
  };

  common = {
    inherit src;
    inherit (craneLib.crateNameFromCargoToml { cargoToml = ./Cargo.toml; }) pname;
    version = (lib.importTOML ../Cargo.toml).workspace.package.version;
    strictDeps = true;
    # The checks below are derivations of their own: nobody waits for them to get the program.
    doCheck = false;
    meta = {
      description = "Reports and alerts from NATS JetStream into Matrix rooms";
      homepage = "https://github.com/nats-matrix/nats-matrix";
      license = with lib.licenses; [
        mit
        asl20
      ];
      mainProgram = "nats-matrix";
      platforms = lib.platforms.linux;
    };
  };

  # Whether this machine can run the program that writes the manual.
  runsHere = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;

  # The program alone, with just the features that it needs.
  release = common // {
    cargoExtraArgs = "--locked --package nats-matrix";
  };
  bridge = craneLib.buildPackage (
    release
    // {
      cargoArtifacts = craneLib.buildDepsOnly (
        # Nothing is linted with this profile, so no `cargo check`.
        release // { cargoCheckCommand = ":"; }
      );
      postInstall = lib.optionalString runsHere ''
        cargo run --release --locked --package nats-matrix-manual -- manual-files
        install -Dm644 -t $out/share/man/man1 manual-files/*.1
        install -Dm644 manual-files/nats-matrix.bash $out/share/bash-completion/completions/nats-matrix
        install -Dm644 -t $out/share/fish/vendor_completions.d manual-files/nats-matrix.fish
        install -Dm644 -t $out/share/zsh/site-functions manual-files/_nats-matrix
      '';
    }
  );

  # Everything else shares one build of the dependencies, without the slow optimisation of a release.
  workspace = common // {
    pname = "nats-matrix-workspace";
    CARGO_PROFILE = "dev";
    cargoExtraArgs = "--locked --workspace";
  };
  checked = workspace // {
    cargoArtifacts = craneLib.buildDepsOnly (workspace // { doCheck = true; });
  };

  servers = [
    pkgs.nats-server
    pkgs.matrix-conduit
  ];
  testsOfServers = "binary(e2e) + package(nats-matrix-testbed) & kind(test)";
  # These read the whole repository, which is not here: `.ci/run` runs them.
  testsOfDocuments = "binary(links) + binary(book) + binary(examples) + binary(reference)";

  testbed = craneLib.buildPackage (
    checked
    // {
      pname = "nats-matrix-demo";
      cargoExtraArgs = "--locked --package nats-matrix-testbed --bin demo";
      meta = common.meta // {
        mainProgram = "demo";
      };
    }
  );
  demo = pkgs.writeShellScriptBin "nats-matrix-demo" ''
    export PATH=${lib.makeBinPath servers}:$PATH NATS_MATRIX_BIN=${lib.getExe bridge}
    exec ${lib.getExe testbed} "$@"
  '';
in
{
  inherit bridge demo;

  checks = {
    inherit bridge demo;
    clippy = craneLib.cargoClippy (
      checked // { cargoClippyExtraArgs = "--all-targets -- --deny warnings"; }
    );
    rustfmt = craneLib.cargoFmt common;
    doc = craneLib.cargoDoc (
      checked
      // {
        cargoDocExtraArgs = "--no-deps";
        env.RUSTDOCFLAGS = "--deny warnings";
      }
    );
    # Advisories need their database from the network; CI asks them.
    cargo-deny = craneLib.cargoDeny common;
    nextest = craneLib.cargoNextest (
      checked
      // {
        doCheck = true;
        cargoNextestExtraArgs = "-E 'not (${testsOfServers} + ${testsOfDocuments})'";
      }
    );
    nextest-e2e = craneLib.cargoNextest (
      checked
      // {
        doCheck = true;
        pname = "nats-matrix-e2e";
        nativeBuildInputs = servers;
        preCheck = "export HOME=$(mktemp -d)";
        # The one that needs Synapse (for its rate limit) runs without Nix, as Synapse is fetched from PyPI.
        cargoNextestExtraArgs = "-E '(${testsOfServers}) - test(a_real_rate_limit) - (${testsOfDocuments})'";
        env = {
          NATS_MATRIX_HOMESERVER_KIND = "conduit";
          # An HTTP client without any CA does not start.
          SSL_CERT_FILE = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
          # Nor does Conduit without a resolv.conf, which a build does not have.
          LD_PRELOAD = "${pkgs.libredirect}/lib/libredirect.so";
          NIX_REDIRECTS = "/etc/resolv.conf=${pkgs.writeText "resolv.conf" "nameserver 127.0.0.1\n"}";
        };
      }
    );
  };

  devShell = craneLib.devShell {
    packages = servers ++ [
      pkgs.cargo-deny
      pkgs.cargo-nextest
      pkgs.cloudflared
      pkgs.deadnix
      pkgs.mypy
      pkgs.natscli
      pkgs.nixfmt
      pkgs.python3
      pkgs.python3Packages.ruff
    ];
  };
}
