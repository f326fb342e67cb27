"""Loading snapshots, in steps, for any number of layers.

- config: `layers` of authz.yaml
- source: `Source`, where a layer's file comes from: file (watched by inotify, `watch`), web or store, which have
  `fetched` in common
- accept: `Acceptor` verifies a file and has `memory` remember it: the highest serial, and the last good copy
- swap: `Swap` puts an accepted snapshot in the place of the one that decides
- layer: `Layer` takes these steps again and again, and tells of a refusal once
- overruled: entries without effect, since the policy protects what they would deny
- layers: all of them, made from the configuration
"""
