"""Loading snapshots, in steps, for any number of layers.

- source: `Source`, where a layer's file comes from
- file: `FileSource`, a file of this machine, watched by inotify (`watch`) and by a slow poll
- accept: `Acceptor` verifies a file, compares its serial with the highest, and remembers it
- swap: `Swap` puts an accepted snapshot in the place of the one that decides
- layer: `Layer` takes these steps again and again, and tells of a refusal once
"""
