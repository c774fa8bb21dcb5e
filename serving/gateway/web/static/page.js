// Every page: times of the reader's clock.

import {localise} from "./times.js";

localise(document);
